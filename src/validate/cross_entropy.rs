//! Checks of [`crate::kernels::cross_entropy`].

use super::{Case, KernelChecks, ROUNDING, widen};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    kernels::{
        Step,
        cross_entropy::{self, Backward, CrossEntropy, Outputs, Taught},
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
    /// The teachers' mean distribution on the host, and its sum on the device, if there are any.
    taught: Option<(Vec<f64>, Tensor)>,
    log_sum_exp: Tensor,
    row_loss: Tensor,
    loss: Tensor,
    step: Tensor,
}

/// Padding in a quarter of the rows; its logits are NaN on the device, and nothing may show it.
fn inputs(case: &mut Case<'_>) -> Result<Inputs> {
    let (rows, classes) = (case.size(129), case.size(300));
    let smoothing = [0.0, 0.1, 1.0][case.below(3)];
    let impossible = if case.coin() { case.below(classes) } else { 0 };
    let padding = case.below(classes) as u32;
    let taught = case.coin().then(|| Taught { count: 1 + case.below(3), weight: [0.3, 1.0][case.below(2)] });
    let operation = CrossEntropy { rows, classes, smoothing, impossible, padding, taught };
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
        taught: taught.map(|taught| distributions(case, &operation, taught, &targets)).transpose()?,
        operation,
        reference: reference::cross_entropy::CrossEntropy {
            rows,
            classes,
            smoothing: f64::from(smoothing),
            impossible,
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

/// The distributions of teachers: their mean as the device holds it, and their sum there, with NaN in rows of padding.
fn distributions(
    case: &mut Case<'_>,
    operation: &CrossEntropy,
    taught: Taught,
    targets: &[u32],
) -> Result<(Vec<f64>, Tensor)> {
    let CrossEntropy { rows, classes, padding, .. } = *operation;
    let mut sum = vec![0.0_f32; rows * classes];
    for _ in 0..taught.count {
        let logits = widen(&case.values(rows * classes, 2.0));
        let distributions = reference::softmax::Softmax { rows, columns: classes }.forward(&logits, None);
        sum.iter_mut().zip(distributions).for_each(|(sum, share)| *sum += share as f32);
    }
    let sum = case.rounded(sum);
    let poisoned = sum.iter().enumerate().map(|(i, sum)| if targets[i / classes] == padding { f32::NAN } else { *sum });
    let tensor = case.upload_activation([rows, classes], &poisoned.collect::<Vec<_>>())?;
    Ok((sum.iter().map(|sum| f64::from(*sum) / taught.count as f64).collect(), tensor))
}

impl Inputs {
    fn taught(&self) -> Option<&Tensor> {
        self.taught.as_ref().map(|(_, tensor)| tensor)
    }

    /// The reference with the teachers' part; where there are none, that is nothing.
    fn reference<'a>(&'a self, none: &'a [f64]) -> reference::cross_entropy::Taught<'a> {
        let (mean, weight) = match (&self.taught, self.operation.taught) {
            (Some((mean, _)), Some(taught)) => (mean.as_slice(), f64::from(taught.weight)),
            _ => (none, 0.0),
        };
        reference::cross_entropy::Taught { loss: self.reference, mean, weight }
    }

    fn record(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { logits_gpu, targets_gpu, step, log_sum_exp, row_loss, loss, .. } = self;
        let inputs = cross_entropy::Inputs { logits: logits_gpu, targets: targets_gpu, taught: self.taught(), step };
        self.operation.record(recorder, &inputs, &Outputs { log_sum_exp, row_loss, loss })
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let inputs = inputs(case)?;
    case.run(|recorder| inputs.record(recorder))?;
    let none = vec![0.0; inputs.logits.len()];
    let loss = inputs.reference(&none).forward(&widen(&inputs.logits), &inputs.targets);
    // A single row may be sure of its target; the scale is then what an even guess costs.
    case.error(&inputs.loss, &[loss], 1.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let inputs = inputs(case)?;
    let d_loss = case.values(1, 1.0);
    let d_loss_gpu = case.upload([1], &d_loss)?;
    let at_once = case.coin();
    case.run(|recorder| {
        let Inputs { operation, targets_gpu, log_sum_exp, row_loss, loss, step, logits_gpu, .. } = &inputs;
        let taught = inputs.taught();
        if at_once {
            let forward = cross_entropy::Inputs { logits: logits_gpu, targets: targets_gpu, taught, step };
            return operation.record_both(recorder, &forward, &Outputs { log_sum_exp, row_loss, loss }, &d_loss_gpu);
        }
        inputs.record(recorder)?;
        let backward = Backward { targets: targets_gpu, taught, log_sum_exp, step, d_loss: &d_loss_gpu };
        operation.record_backward(recorder, &backward, logits_gpu)
    })?;
    let d_loss = f64::from(d_loss[0]);
    let none = vec![0.0; inputs.logits.len()];
    let gradient = inputs.reference(&none).backward(&widen(&inputs.logits), &inputs.targets, d_loss);
    let of_gradient = case.error(&inputs.logits_gpu, &gradient, (d_loss * inputs.reference.scale).abs())?;
    let loss = inputs.reference(&none).forward(&widen(&inputs.logits), &inputs.targets);
    Ok(of_gradient.max(case.error(&inputs.loss, &[loss], 1.0)?))
}
