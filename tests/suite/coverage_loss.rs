//! The coverage loss against its reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::{
        Step,
        coverage_loss::{CoverageLoss, Inputs},
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("coverage_loss");
}

/// Loss and gradient of weights of one row, unscaled.
fn both(gpu: &Gpu, [steps, keys]: [usize; 2], weights: &[f32], targets: &[u32]) -> (f32, Vec<f32>) {
    let operation = CoverageLoss { batch: 1, steps, keys, weight: 1.0, padding: 0 };
    let (weights, targets) = (common::upload(gpu, [steps * keys], weights), common::upload_u32(gpu, [steps], targets));
    let step = Step::buffer(gpu).unwrap();
    gpu.write(&step, &Step { loss_scale: 1.0, ..Step::default() }.words()).unwrap();
    let (scratch, loss) = (common::poisoned(gpu, operation.scratch()), common::poisoned(gpu, 1));
    let (d_loss, gradient) = (common::upload(gpu, [1], &[1.0]), common::poisoned(gpu, steps * keys));
    let inputs = Inputs { weights: &weights, targets: &targets, step: &step };
    common::run(gpu, |recorder| {
        operation.record(recorder, &inputs, &scratch, &loss)?;
        operation.record_backward(recorder, &inputs, &d_loss, &gradient)
    });
    (gpu.read(&loss).unwrap()[0], gpu.read(&gradient).unwrap())
}

#[test]
fn looking_twice_costs_and_looking_elsewhere_does_not() {
    for gpu in [common::gpu(), common::portable()] {
        let (loss, gradient) = both(gpu, [2, 2], &[1.0, 0.0, 0.0, 1.0], &[5, 2]);
        assert_eq!(loss, 0.0);
        // A step back would cost: where the second step looks, the first one had better not.
        assert_eq!(gradient, [0.0, 1.0, 1.0, 0.0]);
        let (loss, gradient) = both(gpu, [3, 1], &[1.0, 0.5, 1.0], &[5, 5, 2]);
        assert_eq!((loss, gradient), (1.5, vec![0.0, 1.0, 1.0]));
        // Padding neither costs nor covers.
        let (loss, gradient) = both(gpu, [3, 1], &[1.0, f32::NAN, 1.0], &[5, 0, 2]);
        assert_eq!((loss, gradient), (1.0, vec![1.0, 0.0, 0.0]));
    }
}

#[test]
fn the_same_bits_twice() {
    let gpu = common::gpu();
    let weights: Vec<f32> = (0..37 * 1000).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    let run = || both(gpu, [37, 1000], &weights, &[5; 37]);
    assert_eq!(run(), run());
}

#[test]
fn refuses_wrong_shapes_and_weights() {
    let gpu = common::gpu();
    let (four, one) = (common::poisoned(gpu, 4), common::poisoned(gpu, 1));
    let step = Step::buffer(gpu).unwrap();
    let inputs = Inputs { weights: &four, targets: &four, step: &step };
    let mut recorder = Recorder::new(gpu, "test");
    for (argument, keys, weight) in [("weights", 3, 1.0), ("targets", 2, 1.0), ("targets", 2, f32::INFINITY)] {
        let operation = CoverageLoss { batch: 1, steps: 2, keys, weight, padding: 0 };
        for result in [
            operation.record(&mut recorder, &inputs, &four, &one),
            operation.record_backward(&mut recorder, &inputs, &one, &four),
        ] {
            assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
        }
    }
    let operation = CoverageLoss { batch: 2, steps: 1, keys: 2, weight: -1.0, padding: 0 };
    let two = common::poisoned(gpu, 2);
    let result = operation.record(&mut recorder, &Inputs { targets: &two, ..inputs }, &four, &one);
    assert!(matches!(result, Err(Error::Shape { argument: "weight", .. })), "{result:?}");
}
