//! Checks of [`crate::kernels::pointwise`].

use super::{Case, KernelChecks, ROUNDING, widen};
use crate::{
    Result,
    kernels::pointwise::{Backward, Gelu, Gradients, Pointwise},
    reference,
};

/// No sums; tanh errs by 3.4e-7, and its derivative cancels near 1. GELU errs by 6e-7 of its operand.
const TOLERANCE: f64 = 1e-6;
/// Backward, tanh and the logistic function are stored before, and an error of tanh counts twice in 1 - tanh^2.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 3.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "pointwise", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some(HALF) }];

struct Operands {
    operation: Pointwise,
    reference: reference::pointwise::Pointwise,
    rows: usize,
    columns: usize,
    a: Vec<f32>,
    b: Option<Vec<f32>>,
}

fn operands(case: &mut Case<'_>) -> Operands {
    let (operation, reference) = [
        (Pointwise::Add, reference::pointwise::Pointwise::Add),
        (Pointwise::Multiply, reference::pointwise::Pointwise::Multiply),
        (Pointwise::Scale(-0.7), reference::pointwise::Pointwise::Scale((-0.7_f32).into())),
        (Pointwise::Tanh, reference::pointwise::Pointwise::Tanh),
        (Pointwise::Sigmoid, reference::pointwise::Pointwise::Sigmoid),
        (Pointwise::Relu, reference::pointwise::Pointwise::Relu),
        (Pointwise::Gelu(Gelu::Erf), reference::pointwise::Pointwise::GeluErf),
        (Pointwise::Gelu(Gelu::Tanh), reference::pointwise::Pointwise::GeluTanh),
        (Pointwise::Swish, reference::pointwise::Pointwise::Swish),
    ][case.below(9)];
    let (rows, columns) = (case.size(129), case.size(129));
    let a = case.values(rows * columns, 2.0);
    let b = operation.is_binary().then(|| case.values(rows * columns, 1.0));
    Operands { operation, reference, rows, columns, a, b }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let Operands { operation, reference, rows, columns, a, b } = operands(case);
    let a_gpu = case.upload_activation([rows, columns], &a)?;
    let b_gpu = b.as_ref().map(|b| case.upload_activation([rows, columns], b)).transpose()?;
    let y = case.poisoned_activation([rows, columns])?;
    case.run(|recorder| operation.record(recorder, &a_gpu, b_gpu.as_ref(), &y))?;
    let b = b.map(|b| widen(&b));
    case.error(&y, &reference.forward(&widen(&a), b.as_deref()), 0.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let Operands { operation, reference, rows, columns, a, b } = operands(case);
    let shape = [rows, columns];
    let d_y = case.values(rows * columns, 1.0);
    let a_gpu = case.upload_activation(shape, &a)?;
    let b_gpu = b.as_ref().map(|b| case.upload_activation(shape, b)).transpose()?;
    let d_y_gpu = case.upload_activation(shape, &d_y)?;
    let (y, d_a) = (case.poisoned_activation(shape)?, case.poisoned_activation(shape)?);
    let d_b = b.as_ref().map(|_| case.poisoned_activation(shape)).transpose()?;
    case.run(|recorder| {
        operation.record(recorder, &a_gpu, b_gpu.as_ref(), &y)?;
        let backward = Backward { a: &a_gpu, b: b_gpu.as_ref(), y: &y, d_y: &d_y_gpu };
        operation.record_backward(recorder, &backward, &Gradients { a: &d_a, b: d_b.as_ref() })
    })?;
    let b = b.map(|b| widen(&b));
    let (a, d_y) = (widen(&a), widen(&d_y));
    let (reference_a, reference_b) = reference.backward(&a, b.as_deref(), &d_y);
    // A derivative near 0 is the rounding error of y times d_y.
    let scale = super::largest(&d_y);
    let mut worst = case.error(&d_a, &reference_a, scale)?;
    if let (Some(d_b), Some(reference_b)) = (d_b, reference_b) {
        worst = worst.max(case.error(&d_b, &reference_b, scale)?);
    }
    Ok(worst)
}
