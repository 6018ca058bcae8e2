//! Adam and the clipping by the global norm against their reference.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    gpu::{Dtype, Recorder},
    kernels::{
        Step,
        adam::{Adam, Buffers, Shared, StepReport},
    },
    reference::adam::average,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("adam");
}

fn adam(elements: usize) -> Adam {
    Adam {
        elements,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        clip_norm: Some(1.0),
        rate: 1.0,
        weight_decay: 0.0,
        average_decay: None,
    }
}

/// Neither accumulating nor averaging.
fn plain<'a>(gradients: &'a Tensor, [parameters, first, second]: &'a [Tensor; 3]) -> Buffers<'a> {
    Buffers { parameters, gradients, total: None, first, second, average: None }
}

/// The scale is divided out before the norm is reported, the gradients clipped and the parameters changed: not a bit differs. A step
/// that is not finite halves it, down to 1, and is a fault only there; enough finite ones double it.
#[test]
fn a_loss_scale_leaves_no_trace_in_the_update_and_follows_what_is_finite() {
    let gradients: Vec<f32> = (0..1001).map(|i| (i as f32 - 300.0) * 1e-3).collect();
    let scaled = |scale: f32| gradients.iter().map(|gradient| scale * gradient).collect::<Vec<_>>();
    for gpu in [common::gpu(), common::portable()] {
        let run = |gradients: &[f32], scaling: Option<&Tensor>| {
            let state = [(); 3].map(|()| common::upload(gpu, [1001], &vec![0.5; 1001]));
            let gradients = common::upload(gpu, [1001], gradients);
            let (scratch, report) = (common::poisoned(gpu, Adam::SCRATCH), common::upload(gpu, [6], &[0.0; 6]));
            let step = step(gpu, 3);
            let shared = Shared { step: &step, loss: None, scaling, scratch: &scratch, norm: &report };
            common::run(gpu, |recorder| adam(1001).record(recorder, &plain(&gradients, &state), &shared));
            (state.map(|tensor| common::bits(gpu, &tensor)), gpu.read::<f32>(&report).unwrap())
        };
        let (expected, report) = run(&gradients, None);
        let scaling = common::upload(gpu, [2], &Adam::SCALING);
        let (found, of_scaled) = run(&scaled(65_536.0), Some(&scaling));
        assert_eq!(found, expected);
        assert_eq!((of_scaled[0], of_scaled[1], of_scaled[5]), (report[0], 1.0, 65_536.0));
        assert_eq!(gpu.read::<f32>(&scaling).unwrap(), [65_536.0, 1.0]);

        let mut infinite = scaled(2.0);
        infinite[700] = f32::INFINITY;
        for (before, after, faults) in [([2.0, 1999.0], [1.0, 0.0], 0), ([1.0, 5.0], [1.0, 0.0], 1)] {
            gpu.write(&scaling, &before).unwrap();
            let (state, report) = run(&infinite, Some(&scaling));
            assert!(state.iter().flatten().all(|bits| *bits == 0.5_f32.to_bits()), "the step is skipped");
            assert_eq!((report[1], report[2].to_bits(), report[5]), (0.0, faults, before[0]));
            assert_eq!(gpu.read::<f32>(&scaling).unwrap(), after);
        }
        for (before, after) in [([2.0, 1999.0], [4.0, 0.0]), ([16_777_216.0, 1999.0], [16_777_216.0, 0.0])] {
            gpu.write(&scaling, &before).unwrap();
            run(&scaled(before[0]), Some(&scaling));
            assert_eq!(gpu.read::<f32>(&scaling).unwrap(), after);
        }
    }
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
    let (scratch, norm) = (common::poisoned(gpu, Adam::SCRATCH), common::poisoned(gpu, Adam::REPORT));
    let loss = loss.map(|loss| common::upload(gpu, [1], &[loss]));
    let step = step(gpu, 3);
    let shared = Shared { step: &step, loss: loss.as_ref(), scaling: None, scratch: &scratch, norm: &norm };
    common::run(gpu, |recorder| adam.record(recorder, &plain(&gradients, &state), &shared));
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
        let scratch = common::poisoned(gpu, Adam::SCRATCH);
        let steps = [1, 2, 3, 4, 5, 7, 10, 31, 100, 127, 1000, 1023, 4095, 10_000, 65_535, 123_457, 524_287, 1_000_000];
        let buffer = step(gpu, 1);
        let mut recorder = Recorder::new(gpu, "test");
        let shared = Shared { step: &buffer, loss: None, scaling: None, scratch: &scratch, norm: &norm };
        adam.record_norm(&mut recorder, (&gradients, None), &shared, 0).unwrap();
        adam.record_settings(&mut recorder, 1, &gradients, &shared).unwrap();
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
    let scratch = common::poisoned(gpu, 2 * Adam::SCRATCH);
    let (found_norm, step) = (common::poisoned(gpu, Adam::REPORT), step(gpu, 3));
    let tensors: Vec<_> = parts
        .iter()
        .map(|(adam, gradients)| {
            let half = || common::upload(gpu, [adam.elements], &vec![0.5; adam.elements]);
            (common::upload(gpu, [adam.elements], gradients), [half(), half(), half()])
        })
        .collect();
    let shared = Shared { step: &step, loss: None, scaling: None, scratch: &scratch, norm: &found_norm };
    common::run(gpu, |recorder| {
        let mut partials = 0;
        for ((adam, _), (gradients, _)) in parts.iter().zip(&tensors) {
            adam.record_norm(recorder, (gradients, None), &shared, partials)?;
            partials += adam.partials(gpu);
        }
        adam(3000).record_settings(recorder, partials, &tensors[0].0, &shared)?;
        for ((adam, _), (gradients, state)) in parts.iter().zip(&tensors) {
            adam.record_update(recorder, &plain(gradients, state), &shared)?;
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
    let (scratch, report) = (common::poisoned(gpu, Adam::SCRATCH), common::poisoned(gpu, Adam::REPORT));
    let state = [(); 3].map(|()| four.clone());
    let shared = Shared { step: &step, loss: None, scaling: None, scratch: &scratch, norm: &report };
    let mut recorder = Recorder::new(gpu, "test");
    for (adam, second) in [
        (adam(4), &two),
        (Adam { beta1: 1.0, ..adam(4) }, &four),
        (Adam { epsilon: 0.0, ..adam(4) }, &four),
        (Adam { clip_norm: Some(0.0), ..adam(4) }, &four),
        (Adam { rate: -0.1, ..adam(4) }, &four),
        (Adam { weight_decay: -0.1, ..adam(4) }, &four),
        (Adam { average_decay: Some(1.0), ..adam(4) }, &four),
    ] {
        let buffers = Buffers { second, ..plain(&four, &state) };
        let result = adam.record(&mut recorder, &buffers, &shared);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    // An average needs its decay, and what is accumulated the shape of the gradients.
    let whole = plain(&four, &state);
    for buffers in [Buffers { average: Some(&four), ..whole }, Buffers { total: Some(&two), ..whole }] {
        let result = adam(4).record(&mut recorder, &buffers, &shared);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}

/// Three batches in turn, each with its gradients and loss; the parameters, moments, average and report after each.
fn accumulated(gpu: &Gpu, batches: &[(f32, f32); 3]) -> Vec<[Vec<f32>; 5]> {
    let adam = Adam { average_decay: Some(0.5), ..adam(1001) };
    let tensors = [(); 4].map(|()| common::upload(gpu, [1001], &[0.5; 1001]));
    let (total, scratch) = (common::poisoned(gpu, 1001), common::poisoned(gpu, Adam::SCRATCH));
    let report = gpu.zeros("report", [Adam::REPORT], Dtype::F32).unwrap();
    let buffer = step(gpu, 1);
    let run = |(index, (gradient, loss)): (usize, &(f32, f32))| {
        let words = Step { step: 4, learning_rate: 1.0, batch: index as u32, batches: 3, ..Step::default() }.words();
        gpu.write(&buffer, &words).unwrap();
        let gradients = common::upload(gpu, [1001], &[*gradient; 1001]);
        let loss = common::upload(gpu, [1], &[*loss]);
        common::run(gpu, |recorder| {
            let [parameters, first, second, average] = &tensors;
            let (total, average) = (Some(&total), Some(average));
            let buffers = Buffers { parameters, gradients: &gradients, total, first, second, average };
            let shared = Shared { step: &buffer, loss: Some(&loss), scaling: None, scratch: &scratch, norm: &report };
            adam.record(recorder, &buffers, &shared)
        });
        let [parameters, first, second, average] = tensors.each_ref().map(|tensor| gpu.read(tensor).unwrap());
        [parameters, first, second, average, gpu.read(&report).unwrap()]
    };
    batches.iter().enumerate().map(run).collect()
}

#[test]
fn batches_are_added_up_and_the_last_one_makes_the_step() {
    for gpu in [common::gpu(), common::portable()] {
        let after = accumulated(gpu, &[(0.25, 1.0), (0.5, 0.5), (0.25, 0.25)]);
        for [parameters, first, second, average, report] in &after[..2] {
            let kept = [parameters, first, second, average].into_iter().flatten().all(|value| *value == 0.5);
            assert!(kept, "an earlier batch changed something");
            assert_eq!((report[1], report[2].to_bits()), (0.0, 0), "neither made nor skipped");
        }
        let (whole, norm) = update(gpu, adam(1001), &[1.0; 1001], None);
        let [parameters, first, second, averaged, report] = &after[2];
        // The powers of two add up exactly; only the number of the step differs from that of `update`.
        assert_eq!((report[0], report[1], report[4]), (norm[0], 1.0, 1.75));
        assert!(whole[1] == *first && whole[2] == *second);
        let mut expected = vec![0.5; 1001];
        let parameters: Vec<_> = parameters.iter().map(|value| f64::from(*value)).collect();
        average(0.5, 4, &mut expected, &parameters);
        assert!(averaged.iter().zip(&expected).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-6));

        // One batch that is not finite spoils the update, which counts once, and nothing after it.
        let after = accumulated(gpu, &[(f32::NAN, 1.0), (0.5, 0.5), (0.25, 0.25)]);
        let [parameters, .., average, report] = &after[2];
        assert!(parameters.iter().chain(average).all(|value| *value == 0.5));
        assert_eq!((report[1], report[2].to_bits(), report[3].to_bits()), (0.0, 1, 4));
        let after = accumulated(gpu, &[(0.25, f32::NAN), (0.5, 0.5), (0.25, 0.25)]);
        assert_eq!((after[2][4][1], after[2][4][2].to_bits()), (0.0, 1), "a loss that is not finite");
    }
}

#[test]
fn an_average_follows_closely_at_first_and_slowly_then() {
    let mut value = [0.0];
    average(0.999, 1, &mut value, &[1.0]);
    assert!((value[0] - 0.9_f64).abs() < 1e-12, "a tenth of the first value is left");
    for (step, decay) in [(1, 0.1), (91, 0.91), (8991, 0.999), (1_000_000, 0.999)] {
        let mut value = [1.0];
        average(0.999, step, &mut value, &[0.0]);
        assert!((value[0] - decay).abs() < 1e-12, "step {step}: {}", value[0]);
    }
}

#[test]
fn a_norm_that_was_made_elsewhere_is_the_one_that_is_reported() {
    let gpu = common::gpu();
    let adam = Adam { clip_norm: None, ..adam(4) };
    let (step, gradients) = (step(gpu, 1), common::upload(gpu, [4], &[1.0; 4]));
    for squares in [0.0, 1e-60, 3e-20, 0.25, 1.0, 1.5, 4e9, 1e36, 1e40, f64::INFINITY, f64::NAN] {
        let (scratch, norm) = (common::poisoned(gpu, Adam::SCRATCH), common::upload(gpu, [6], &[0.0; 6]));
        let first = Adam::scratch_of_squares(squares);
        gpu.write(&scratch.window([first.len()]).unwrap(), &first).unwrap();
        let shared = Shared { step: &step, loss: None, scaling: None, scratch: &scratch, norm: &norm };
        common::run(gpu, |recorder| adam.record_settings(recorder, 1, &gradients, &shared));
        let report = StepReport::of_bytes(&gpu.read(&norm).unwrap()).unwrap();
        let made = squares < 1e37;
        assert_eq!(report.updated, if made { 1.0 } else { 0.0 }, "{squares}");
        if made {
            assert!((f64::from(report.norm) - squares.sqrt()).abs() <= 3e-7 * squares.sqrt(), "{squares}: {report:?}");
        }
    }
}
