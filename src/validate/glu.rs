//! Checks of [`crate::kernels::glu`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{Result, kernels::glu::Glu, reference};

/// No sums: a product with the logistic function, or with its derivative, which cancels near 1.
const TOLERANCE: f64 = 1e-6;
/// The error of one store in f16.
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "glu", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some([HALF; 2]) }];

fn sizes(case: &mut Case<'_>) -> (Glu, reference::glu::Glu) {
    let (rows, columns) = (case.size(129), case.size(129));
    (Glu { rows, columns }, reference::glu::Glu { rows, columns })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (glu, reference) = sizes(case);
    let x = case.values(glu.rows * 2 * glu.columns, 2.0);
    let x_gpu = case.upload_activation([glu.rows, 2 * glu.columns], &x)?;
    let y = case.poisoned_activation([glu.rows, glu.columns])?;
    case.run(|recorder| glu.record(recorder, &x_gpu, &y))?;
    case.error(&y, &reference.forward(&widen(&x)), 0.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (glu, reference) = sizes(case);
    let x = case.values(glu.rows * 2 * glu.columns, 2.0);
    let d_y = case.values(glu.rows * glu.columns, 1.0);
    let x_gpu = case.upload_activation([glu.rows, 2 * glu.columns], &x)?;
    let d_y_gpu = case.upload_activation([glu.rows, glu.columns], &d_y)?;
    let d_x = case.poisoned_activation([glu.rows, 2 * glu.columns])?;
    case.run(|recorder| glu.record_backward(recorder, &x_gpu, &d_y_gpu, &d_x))?;
    let (x, d_y) = (widen(&x), widen(&d_y));
    // Of an open gate the derivative is the rounding error of 1 times both factors.
    case.error(&d_x, &reference.backward(&x, &d_y), largest(&x) * largest(&d_y))
}
