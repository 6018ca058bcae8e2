//! Checks of [`crate::kernels::coverage_loss`].

use super::{Case, KernelChecks, widen};
use crate::{
    Result, Tensor,
    kernels::{
        Step,
        coverage_loss::{CoverageLoss, Inputs},
    },
    reference,
};

/// Sums of up to 36,000 terms of one sign in two levels, each of a sum of up to 32.
const FORWARD: f64 = 2e-6;
/// Whole numbers, times a scale. A step of which one side says that the weight is the smaller and the other that the coverage is
/// would be an error of the order of 1.
const BACKWARD: f64 = 3e-7;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "coverage_loss", forward, backward: Some(backward), f32: [FORWARD, BACKWARD], f16: None }];

struct Drawn {
    operation: CoverageLoss,
    reference: reference::coverage_loss::CoverageLoss,
    weights: Vec<f32>,
    targets: Vec<u32>,
    weights_gpu: Tensor,
    targets_gpu: Tensor,
    step: Tensor,
}

impl Drawn {
    fn inputs(&self) -> Inputs<'_> {
        Inputs { weights: &self.weights_gpu, targets: &self.targets_gpu, step: &self.step }
    }
}

/// Multiples of 1/64, so that sums are exact and a weight may equal its coverage; a row in four is padding, NaN on the device.
fn draw(case: &mut Case<'_>) -> Result<Drawn> {
    let (batch, steps, keys) = (case.size(33), case.size(33), case.size(33));
    let (weight, loss_scale) = ([0.1, 1.0][case.below(2)], 1.0 / (batch * steps) as f32);
    let weights: Vec<f32> = (0..batch * steps * keys).map(|_| case.below(65) as f32 / 64.0).collect();
    let targets: Vec<u32> = (0..batch * steps).map(|_| case.below(4) as u32).collect();
    let padding = case.below(4) as u32;
    let poisoned = weights.iter().enumerate();
    let poisoned = poisoned.map(|(at, weight)| if targets[at / keys] == padding { f32::NAN } else { *weight });
    let step = Step::buffer(case.gpu)?;
    case.gpu.write(&step, &Step { loss_scale, ..Step::default() }.words())?;
    let scale = f64::from(weight) * f64::from(loss_scale);
    Ok(Drawn {
        operation: CoverageLoss { batch, steps, keys, weight, padding },
        reference: reference::coverage_loss::CoverageLoss { batch, steps, keys, scale, padding },
        weights_gpu: case.upload([batch, steps, keys], &poisoned.collect::<Vec<_>>())?,
        targets_gpu: case.upload_u32([batch, steps], &targets)?,
        weights,
        targets,
        step,
    })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let (scratch, loss) = (case.poisoned([drawn.operation.scratch()])?, case.poisoned([1])?);
    case.run(|recorder| drawn.operation.record(recorder, &drawn.inputs(), &scratch, &loss))?;
    case.error(&loss, &[drawn.reference.forward(&widen(&drawn.weights), &drawn.targets)], 0.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let d_loss = case.values(1, 1.0);
    let (d_loss_gpu, d_weights) = (case.upload([1], &d_loss)?, case.poisoned([drawn.weights.len()])?);
    case.run(|recorder| drawn.operation.record_backward(recorder, &drawn.inputs(), &d_loss_gpu, &d_weights))?;
    let expected = drawn.reference.backward(&widen(&drawn.weights), &drawn.targets, f64::from(d_loss[0]));
    case.error(&d_weights, &expected, 0.0)
}
