//! The cross-entropy against its reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::{
        Step,
        cross_entropy::{Backward, CrossEntropy, Inputs, Outputs, Taught},
    },
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("cross_entropy");
}

/// Loss and gradient.
fn both(gpu: &Gpu, operation: CrossEntropy, logits: &[f32], targets: &[u32]) -> (f32, Vec<f32>) {
    let CrossEntropy { rows, classes, .. } = operation;
    let logits = common::upload(gpu, [rows, classes], logits);
    let targets = common::upload_u32(gpu, [rows], targets);
    let step = Step::buffer(gpu).unwrap();
    gpu.write(&step, &Step { loss_scale: 0.5, ..Step::default() }.words()).unwrap();
    let [log_sum_exp, row_loss] = [common::poisoned(gpu, rows), common::poisoned(gpu, rows)];
    let (loss, d_loss) = (common::poisoned(gpu, 1), common::upload(gpu, [1], &[1.0]));
    let inputs = Inputs { logits: &logits, targets: &targets, taught: None, step: &step };
    let log_sum_exp = &log_sum_exp;
    let outputs = Outputs { log_sum_exp, row_loss: &row_loss, loss: &loss };
    let backward = Backward { targets: &targets, taught: None, log_sum_exp, step: &step, d_loss: &d_loss };
    common::run(gpu, |recorder| {
        operation.record(recorder, &inputs, &outputs)?;
        operation.record_backward(recorder, &backward, &logits)
    });
    (gpu.read(&loss).unwrap()[0], gpu.read(&logits).unwrap())
}

#[test]
fn large_logits_and_vocabularies_stay_finite_and_exact() {
    for gpu in [common::gpu(), common::portable()] {
        for (classes, value, smoothing) in
            [(50_000, 20.0, 0.1), (4099, 1e4, 0.0), (64, 1e30, 0.0), (64, -1e30, 0.0), (8, -3e38, 0.0), (1, 1e30, 0.0)]
        {
            let operation = CrossEntropy { rows: 3, classes, smoothing, impossible: 0, padding: 0, taught: None };
            let mut logits = vec![0.0_f32; 3 * classes];
            // The first row is sure of its target, the second is sure of another class, the third is padding.
            logits[classes - 1] = value;
            logits[classes + classes / 2] = value;
            logits[2 * classes..].fill(f32::NAN);
            let targets = [classes as u32 - 1, classes as u32 - 1, 0];
            let (loss, gradient) = both(gpu, operation, &logits, &targets);
            logits[2 * classes..].fill(0.0);
            let logits: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
            let reference = reference::cross_entropy::CrossEntropy {
                rows: 3,
                classes,
                smoothing: f64::from(smoothing),
                impossible: 0,
                padding: 0,
                scale: 0.5,
            };
            let expected = reference.forward(&logits, &targets);
            let error = (f64::from(loss) - expected).abs() / expected.max(1.0);
            assert!(error < 1e-6, "{classes} classes, {value}: {loss}, expected {expected}");
            let expected = reference.backward(&logits, &targets, 1.0);
            for (i, (found, expected)) in gradient.iter().zip(&expected).enumerate() {
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{classes}, {value}, {i}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn a_logit_that_is_not_finite_shows_in_the_loss() {
    let gpu = common::gpu();
    for bad in [f32::NAN, f32::INFINITY] {
        let operation = CrossEntropy { rows: 2, classes: 5, smoothing: 0.0, impossible: 0, padding: 0, taught: None };
        let mut logits = [0.0; 10];
        logits[7] = bad;
        assert!(!both(gpu, operation, &logits, &[1, 1]).0.is_finite(), "{bad}");
    }
}

#[test]
fn a_batch_of_padding_costs_nothing() {
    let gpu = common::gpu();
    let operation = CrossEntropy { rows: 37, classes: 12, smoothing: 0.1, impossible: 0, padding: 0, taught: None };
    let (loss, gradient) = both(gpu, operation, &[f32::NAN; 37 * 12], &[0; 37]);
    assert_eq!(loss, 0.0);
    assert!(gradient.iter().all(|gradient| *gradient == 0.0));
}

#[test]
fn the_same_bits_twice() {
    let gpu = common::gpu();
    let operation = CrossEntropy { rows: 1000, classes: 75, smoothing: 0.1, impossible: 0, padding: 0, taught: None };
    let logits: Vec<f32> = (0..75_000).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
    let targets: Vec<u32> = (0..1000).map(|i| i % 75).collect();
    assert!(both(gpu, operation, &logits, &targets) == both(gpu, operation, &logits, &targets));
}

#[test]
fn refuses_wrong_shapes_and_smoothing() {
    let gpu = common::gpu();
    let (four, other, one) = (common::poisoned(gpu, 4), common::poisoned(gpu, 4), common::poisoned(gpu, 1));
    let (step, logits) = (Step::buffer(gpu).unwrap(), common::poisoned(gpu, 4));
    let inputs = Inputs { logits: &logits, targets: &four, taught: None, step: &step };
    let outputs = Outputs { log_sum_exp: &four, row_loss: &other, loss: &one };
    let mut recorder = Recorder::new(gpu, "test");
    let operation = CrossEntropy { rows: 2, classes: 2, smoothing: 0.0, impossible: 0, padding: 0, taught: None };
    let result = operation.record(&mut recorder, &inputs, &outputs);
    assert!(matches!(result, Err(Error::Shape { argument: "targets", .. })), "{result:?}");
    let operation = CrossEntropy { rows: 4, classes: 1, smoothing: 1.5, impossible: 0, padding: 0, taught: None };
    let result = operation.record(&mut recorder, &inputs, &outputs);
    assert!(matches!(result, Err(Error::Shape { argument: "smoothing", .. })), "{result:?}");
    let operation = CrossEntropy { smoothing: 0.0, impossible: 1, ..operation };
    let result = operation.record(&mut recorder, &inputs, &outputs);
    assert!(matches!(result, Err(Error::Shape { argument: "impossible", .. })), "{result:?}");
    // Teachers and their weight belong together, and the weight is a share.
    for (weight, taught) in [(None, Some(&four)), (Some(0.5), None), (Some(1.5), Some(&four))] {
        let taught_by = weight.map(|weight| Taught { count: 1, weight });
        let operation = CrossEntropy { impossible: 0, taught: taught_by, ..operation };
        let result = operation.record(&mut recorder, &Inputs { taught, ..inputs }, &outputs);
        assert!(matches!(result, Err(Error::Shape { argument: "taught", .. })), "{result:?}");
    }
}
