//! Checks of [`crate::kernels::alignment_loss`].

use super::{Case, KernelChecks, widen};
use crate::{
    Result, Tensor,
    kernels::{Step, alignment_loss::AlignmentLoss},
    reference,
};

/// A logarithm, and sums of up to 36,000 terms of one sign in two levels.
const FORWARD: f64 = 2e-6;
/// The error of one division.
const BACKWARD: f64 = 5e-7;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "alignment_loss",
    forward,
    backward: Some(backward),
    f32: [FORWARD, BACKWARD],
    f16: None,
}];

struct Drawn {
    operation: AlignmentLoss,
    reference: reference::alignment_loss::AlignmentLoss,
    weights: Vec<f32>,
    expected: Vec<f32>,
    weights_gpu: Tensor,
    expected_gpu: Tensor,
    step: Tensor,
}

/// Weights from 0 to 1, some of them exactly that; a quarter is expected. The others are NaN on the device.
fn draw(case: &mut Case<'_>) -> Result<Drawn> {
    let elements = case.size(33) * case.size(33) * case.size(33);
    let weight = [0.1, 1.0][case.below(2)];
    let alignment_scale = 1.0 / elements as f32;
    let weights: Vec<f32> = (0..elements)
        .map(|_| match case.below(10) {
            0 => 0.0,
            1 => 1.0,
            _ => case.below(1000) as f32 / 1000.0,
        })
        .collect();
    let expected: Vec<f32> =
        (0..elements).map(|_| if case.below(4) == 0 { 1.0 / (1 + case.below(4)) as f32 } else { 0.0 }).collect();
    let poisoned = weights.iter().zip(&expected).map(|(weight, share)| if *share > 0.0 { *weight } else { f32::NAN });
    let step = Step::buffer(case.gpu)?;
    case.gpu.write(&step, &Step { alignment_scale, ..Step::default() }.words())?;
    Ok(Drawn {
        operation: AlignmentLoss { elements, weight },
        reference: reference::alignment_loss::AlignmentLoss {
            elements,
            scale: f64::from(weight) * f64::from(alignment_scale),
        },
        weights_gpu: case.upload([elements], &poisoned.collect::<Vec<_>>())?,
        expected_gpu: case.upload([elements], &expected)?,
        weights,
        expected,
        step,
    })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let (scratch, loss) = (case.poisoned([drawn.operation.scratch()])?, case.poisoned([1])?);
    case.run(|recorder| {
        drawn.operation.record(recorder, [&drawn.weights_gpu, &drawn.expected_gpu], &drawn.step, &scratch, &loss)
    })?;
    let (weights, expected) = (widen(&drawn.weights), widen(&drawn.expected));
    // The logarithm of a weight of 1 is what rounding makes of it: the scale is that of logarithms of 1.
    let scale = drawn.reference.scale * expected.iter().sum::<f64>();
    case.error(&loss, &[drawn.reference.forward(&weights, &expected)], scale)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let d_loss = case.values(1, 1.0);
    let (d_loss_gpu, d_weights) = (case.upload([1], &d_loss)?, case.poisoned([drawn.operation.elements])?);
    case.run(|recorder| {
        let inputs = [&drawn.weights_gpu, &drawn.expected_gpu];
        drawn.operation.record_backward(recorder, inputs, &drawn.step, &d_loss_gpu, &d_weights)
    })?;
    let (weights, expected) = (widen(&drawn.weights), widen(&drawn.expected));
    case.error(&d_weights, &drawn.reference.backward(&weights, &expected, f64::from(d_loss[0])), 0.0)
}
