//! Adam and the clipping by the global norm against their reference.

mod common;

use softalign::{
    Error, Gpu, Tensor,
    gpu::Recorder,
    kernels::{Step, adam::Adam},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("adam", 30);
}

fn adam(elements: usize) -> Adam {
    Adam { elements, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip_norm: Some(1.0), weight_decay: 0.0 }
}

fn step(gpu: &Gpu, number: u32) -> Tensor {
    let step = Step::buffer(gpu).unwrap();
    gpu.write(&step, &Step { step: number, learning_rate: 1.0, ..Step::default() }.words()).unwrap();
    step
}

/// Runs a step on parameters and moments of one half; returns all three, and the norm.
fn update(gpu: &Gpu, adam: Adam, gradients: &[f32], loss: Option<f32>) -> (Vec<Vec<f32>>, Vec<f32>) {
    let half = || common::upload(gpu, [adam.elements], &vec![0.5; adam.elements]);
    let state = [half(), half(), half()];
    let gradients = common::upload(gpu, [adam.elements], gradients);
    let (scratch, norm) = (common::poisoned(gpu, adam.scratch()), common::poisoned(gpu, Adam::REPORT));
    let loss = loss.map(|loss| common::upload(gpu, [1], &[loss]));
    let step = step(gpu, 3);
    common::run(gpu, |recorder| {
        let [parameters, first, second] = &state;
        adam.record(recorder, parameters, &gradients, first, second, &step, loss.as_ref(), &scratch, &norm)
    });
    (state.iter().map(|tensor| gpu.read(tensor).unwrap()).collect(), gpu.read(&norm).unwrap())
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_says_so() {
    for gpu in [common::gpu(), common::portable()] {
        for (bad, loss) in [
            (f32::NAN, None),
            (f32::INFINITY, None),
            (f32::NEG_INFINITY, Some(1.0)),
            (1.0, Some(f32::NAN)),
            (1.0, Some(f32::INFINITY)),
        ] {
            let mut gradients = vec![1.0_f32; 1001];
            gradients[1000] = bad;
            let (state, norm) = update(gpu, adam(1001), &gradients, loss);
            assert!(state.iter().flatten().all(|x| *x == 0.5), "{bad}, {loss:?}");
            assert_eq!(norm[1], 0.0, "{bad}, {loss:?}");
            assert_eq!(norm[3].to_bits(), 3, "the step that was skipped");
            assert_eq!(norm[0].is_finite(), bad.is_finite(), "{bad}: {}", norm[0]);
        }
        let (state, norm) = update(gpu, adam(1001), &vec![1.0; 1001], Some(2.0));
        assert!(state.iter().flatten().all(|x| *x != 0.5) && norm[1] == 1.0);
        // Without clipping, a squared gradient of this size would be an infinite moment.
        let (state, norm) = update(gpu, Adam { clip_norm: None, ..adam(3) }, &[1e20; 3], None);
        assert!(state.iter().flatten().all(|x| *x == 0.5) && norm[1] == 0.0, "{state:?}");
    }
}

#[test]
fn the_norm_neither_overflows_nor_underflows() {
    for gpu in [common::gpu(), common::portable()] {
        for (value, count) in [(1e32_f32, 100), (1e25, 3), (1e-30, 100), (1e-25, 7), (1.0, 100_003), (0.0, 5)] {
            let (_, norm) = update(gpu, adam(count), &vec![value; count], None);
            let expected = f64::from(value) * (count as f64).sqrt();
            assert!((f64::from(norm[0]) - expected).abs() <= 1e-6 * expected, "{value} x {count}: {norm:?}");
            assert_eq!(norm[1], 1.0);
        }
        let (_, norm) = update(gpu, adam(4), &[1e-3, 0.5, 3.0, 1e10], None);
        assert!((norm[0] / 1e10 - 1.0).abs() < 1e-6, "{norm:?}");
    }
}

/// Through the settings in scratch: learning rate over the first correction, and one over the root of the second.
#[test]
fn bias_corrections_are_exact_at_every_step() {
    let gpu = common::gpu();
    let (gradients, norm) = (common::upload(gpu, [4], &[1.0; 4]), common::poisoned(gpu, Adam::REPORT));
    for (beta1, beta2) in [(0.9, 0.999), (0.0, 0.9999), (0.5, 0.999_999)] {
        let adam = Adam { beta1, beta2, ..adam(4) };
        let scratch = common::poisoned(gpu, adam.scratch());
        let steps = [1, 2, 3, 4, 5, 7, 10, 31, 100, 127, 1000, 1023, 4095, 10_000, 65_535, 123_457, 524_287, 1_000_000];
        let buffer = step(gpu, 1);
        let mut recorder = Recorder::new(gpu, "test");
        adam.record_norm(&mut recorder, &gradients, &scratch, 0).unwrap();
        adam.record_settings(&mut recorder, 1, &gradients, &buffer, None, &scratch, &norm).unwrap();
        let recording = recorder.finish().unwrap();
        for number in steps {
            gpu.write(&buffer, &Step { step: number, learning_rate: 1.0, ..Step::default() }.words()).unwrap();
            recording.submit(0).unwrap();
            let settings: Vec<f32> = gpu.read(&scratch).unwrap();
            let correction = |beta: f64| -(beta.ln() * f64::from(number)).exp_m1();
            for (found, expected) in
                [(settings[1], 1.0 / correction(beta1)), (settings[2], 1.0 / correction(beta2).sqrt())]
            {
                let error = (f64::from(found) / expected - 1.0).abs();
                assert!(error < 1e-6, "step {number}, betas {beta1}, {beta2}: {found}, expected {expected}");
            }
        }
    }
}

/// Two buffers under one norm give what one buffer gives.
#[test]
fn several_buffers_share_a_norm() {
    let gpu = common::gpu();
    let gradients: Vec<f32> = (0..3000).map(|i| (i as f32).sin()).collect();
    let (whole, norm) = update(gpu, adam(3000), &gradients, None);
    let parts = [(adam(1000), &gradients[..1000]), (adam(2000), &gradients[1000..])];
    let scratch = common::poisoned(gpu, 2 * adam(1).scratch());
    let (found_norm, step) = (common::poisoned(gpu, Adam::REPORT), step(gpu, 3));
    let tensors: Vec<_> = parts
        .iter()
        .map(|(adam, gradients)| {
            let half = || common::upload(gpu, [adam.elements], &vec![0.5; adam.elements]);
            (common::upload(gpu, [adam.elements], gradients), [half(), half(), half()])
        })
        .collect();
    common::run(gpu, |recorder| {
        let mut partials = 0;
        for ((adam, _), (gradients, _)) in parts.iter().zip(&tensors) {
            adam.record_norm(recorder, gradients, &scratch, partials)?;
            partials += adam.partials(gpu);
        }
        adam(3000).record_settings(recorder, partials, &tensors[0].0, &step, None, &scratch, &found_norm)?;
        for ((adam, _), (gradients, [parameters, first, second])) in parts.iter().zip(&tensors) {
            adam.record_update(recorder, parameters, gradients, first, second, &scratch)?;
        }
        Ok(())
    });
    let found_norm: Vec<f32> = gpu.read(&found_norm).unwrap();
    assert!((found_norm[0] / norm[0] - 1.0).abs() < 1e-6, "{found_norm:?}, {norm:?}");
    for (index, whole) in whole.iter().enumerate() {
        let found = tensors.iter().flat_map(|(_, state)| gpu.read::<f32>(&state[index]).unwrap());
        assert!(found.zip(whole).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }
}

#[test]
fn the_same_bits_twice() {
    let gpu = common::gpu();
    let gradients: Vec<f32> = (0..40_001).map(|i| (i as f32 * 0.7).sin()).collect();
    let bits = || {
        let (state, norm) = update(gpu, adam(40_001), &gradients, None);
        (state, norm[0].to_bits())
    };
    assert!(bits() == bits());
}

#[test]
fn refuses_wrong_shapes_and_settings() {
    let gpu = common::gpu();
    let (four, two, step) = (common::poisoned(gpu, 4), common::poisoned(gpu, 2), step(gpu, 1));
    let scratch = common::poisoned(gpu, adam(4).scratch());
    let mut recorder = Recorder::new(gpu, "test");
    for (adam, second) in [
        (adam(4), &two),
        (Adam { beta1: 1.0, ..adam(4) }, &four),
        (Adam { epsilon: 0.0, ..adam(4) }, &four),
        (Adam { clip_norm: Some(0.0), ..adam(4) }, &four),
        (Adam { weight_decay: -0.1, ..adam(4) }, &four),
    ] {
        let result = adam.record(&mut recorder, &four, &four, &four, second, &step, None, &scratch, &four);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
