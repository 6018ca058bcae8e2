//! The loss of guided alignment against its reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::{Step, alignment_loss::AlignmentLoss},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("alignment_loss");
}

/// Loss and gradient of weights, with a scale of 1/2.
fn both(gpu: &Gpu, weights: &[f32], expected: &[f32]) -> (f32, Vec<f32>) {
    let operation = AlignmentLoss { elements: weights.len(), weight: 1.0 };
    let [weights, expected] = [weights, expected].map(|values| common::upload(gpu, [values.len()], values));
    let step = Step::buffer(gpu).unwrap();
    gpu.write(&step, &Step { alignment_scale: 0.5, ..Step::default() }.words()).unwrap();
    let (scratch, loss) = (common::poisoned(gpu, operation.scratch()), common::poisoned(gpu, 1));
    let (d_loss, gradient) = (common::upload(gpu, [1], &[1.0]), common::poisoned(gpu, operation.elements));
    common::run(gpu, |recorder| {
        operation.record(recorder, [&weights, &expected], &step, &scratch, &loss)?;
        operation.record_backward(recorder, [&weights, &expected], &step, &d_loss, &gradient)
    });
    (gpu.read(&loss).unwrap()[0], gpu.read(&gradient).unwrap())
}

#[test]
fn attention_that_misses_every_link_costs_a_finite_sum() {
    for gpu in [common::gpu(), common::portable()] {
        // Two target tokens of three source positions; the second has no link, and looks where it likes.
        let (loss, gradient) = both(gpu, &[0.0, 1.0, 0.0, 0.2, 0.8, f32::NAN], &[0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
        assert!((loss - 0.5 * 1e6_f32.ln()).abs() < 1e-5, "{loss}");
        let expected = [-0.25e6, 0.0, -0.25e6, 0.0, 0.0, 0.0];
        assert!(gradient.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1.0), "{gradient:?}");
        let (loss, _) = both(gpu, &[0.0, 1.0, 0.0], &[0.0, 1.0, 0.0]);
        assert!(loss.abs() < 1e-6, "{loss}");
        assert_eq!(both(gpu, &[f32::NAN; 5], &[0.0; 5]), (0.0, vec![0.0; 5]));
        assert!(both(gpu, &[f32::NAN; 5], &[1.0; 5]).0.is_nan());
    }
}

#[test]
fn refuses_wrong_shapes_and_weights() {
    let gpu = common::gpu();
    let (four, one, scratch) = (common::poisoned(gpu, 4), common::poisoned(gpu, 1), common::poisoned(gpu, 1024));
    let step = Step::buffer(gpu).unwrap();
    let mut recorder = Recorder::new(gpu, "test");
    for (argument, elements, weight) in [("weights", 5, 1.0), ("weight", 4, f32::NAN), ("weight", 4, -1.0)] {
        let operation = AlignmentLoss { elements, weight };
        for result in [
            operation.record(&mut recorder, [&four, &four], &step, &scratch, &one),
            operation.record_backward(&mut recorder, [&four, &four], &step, &one, &four),
        ] {
            assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
        }
    }
    let result = AlignmentLoss { elements: 4, weight: 1.0 }.record(&mut recorder, [&four, &one], &step, &scratch, &one);
    assert!(matches!(result, Err(Error::Shape { argument: "expected", .. })), "{result:?}");
}
