//! Checks of [`crate::kernels::cross_entropy`].

use super::{Case, KernelChecks, ROUNDING, widen};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    kernels::{
        Step,
        cross_entropy::{self, Backward, CrossEntropy, Outputs},
    },
    reference,
};

/// Sums of up to 300 exponentials and 129 rows. The gradient has the rounding error of the saved logarithm, which is that of
/// the largest logit: up to 100 times 6e-8, of which probabilities get the most where they are near one half.
const TOLERANCE: f64 = 5e-6;
/// The loss is f32, the gradient is stored.
const HALF: [f64; 2] = [TOLERANCE, TOLERANCE + ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "cross_entropy",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some(HALF),
}];

struct Inputs {
    operation: CrossEntropy,
    reference: reference::cross_entropy::CrossEntropy,
    logits: Vec<f32>,
    targets: Vec<u32>,
    logits_gpu: Tensor,
    targets_gpu: Tensor,
    log_sum_exp: Tensor,
    row_loss: Tensor,
    loss: Tensor,
    step: Tensor,
}

/// Padding in a quarter of the rows; its logits are NaN on the device, and nothing may show it.
fn inputs(case: &mut Case<'_>) -> Result<Inputs> {
    let (rows, classes) = (case.size(129), case.size(300));
    let smoothing = [0.0, 0.1, 1.0][case.below(3)];
    let padding = case.below(classes) as u32;
    let operation = CrossEntropy { rows, classes, smoothing, padding };
    let scale = 1.0 / rows as f32;
    let logits = case.values(rows * classes, 2.0);
    let targets: Vec<u32> =
        (0..rows).map(|_| if case.below(4) == 0 { padding } else { case.below(classes) as u32 }).collect();
    let poisoned: Vec<f32> = logits
        .iter()
        .enumerate()
        .map(|(i, logit)| if targets[i / classes] == padding { f32::NAN } else { *logit })
        .collect();
    let step = Step::buffer(case.gpu)?;
    case.gpu.write(&step, &Step { loss_scale: scale, ..Step::default() }.words())?;
    Ok(Inputs {
        operation,
        reference: reference::cross_entropy::CrossEntropy {
            rows,
            classes,
            smoothing: f64::from(smoothing),
            scale: f64::from(scale),
            padding,
        },
        logits_gpu: case.upload_activation([rows, classes], &poisoned)?,
        targets_gpu: case.upload_u32([rows], &targets)?,
        log_sum_exp: case.poisoned([rows])?,
        row_loss: case.poisoned([rows])?,
        loss: case.poisoned([1])?,
        logits,
        targets,
        step,
    })
}

impl Inputs {
    fn record(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { logits_gpu, targets_gpu, step, log_sum_exp, row_loss, loss, .. } = self;
        let inputs = cross_entropy::Inputs { logits: logits_gpu, targets: targets_gpu, step };
        self.operation.record(recorder, &inputs, &Outputs { log_sum_exp, row_loss, loss })
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let inputs = inputs(case)?;
    case.run(|recorder| inputs.record(recorder))?;
    let loss = inputs.reference.forward(&widen(&inputs.logits), &inputs.targets);
    // A single row may be sure of its target; the scale is then what an even guess costs.
    case.error(&inputs.loss, &[loss], 1.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let inputs = inputs(case)?;
    let d_loss = case.values(1, 1.0);
    let d_loss_gpu = case.upload([1], &d_loss)?;
    case.run(|recorder| {
        inputs.record(recorder)?;
        let Inputs { operation, targets_gpu, log_sum_exp, step, logits_gpu, .. } = &inputs;
        let backward = Backward { targets: targets_gpu, log_sum_exp, step, d_loss: &d_loss_gpu };
        operation.record_backward(recorder, &backward, logits_gpu)
    })?;
    let d_loss = f64::from(d_loss[0]);
    let gradient = inputs.reference.backward(&widen(&inputs.logits), &inputs.targets, d_loss);
    case.error(&inputs.logits_gpu, &gradient, (d_loss * inputs.reference.scale).abs())
}
