//! Checks of [`crate::kernels::softmax`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{Result, kernels::softmax::Softmax, reference};

/// Sums of up to 1,100 exponentials of differences up to 100, whose rounding error exp multiplies.
const TOLERANCE: f64 = 3e-6;
/// The error of one store in f16.
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "softmax", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some([HALF; 2]) }];

fn sizes(case: &mut Case<'_>) -> (Softmax, reference::softmax::Softmax) {
    let (rows, columns) = (case.size(65), if case.coin() { case.size(129) } else { 1 + case.below(1100) });
    // Every width of a load, within rows and at their ends.
    let columns = if case.coin() { columns.next_multiple_of(8) } else { columns };
    // Enough rows for one an invocation.
    let rows = if columns <= 136 && case.coin() { rows + 255 } else { rows };
    (Softmax { rows, columns }, reference::softmax::Softmax { rows, columns })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (softmax, reference) = sizes(case);
    let Softmax { rows, columns } = softmax;
    let lengths = case.coin().then(|| case.lengths(rows, columns));
    let x = case.values(rows * columns, 3.0);
    // Masked elements are NaN on the device.
    let valid = |i: usize| lengths.as_ref().is_none_or(|lengths| i % columns < lengths[i / columns] as usize);
    let poisoned: Vec<f32> = x.iter().enumerate().map(|(i, x)| if valid(i) { *x } else { f32::NAN }).collect();
    let (x_gpu, y) = (case.upload_activation([rows, columns], &poisoned)?, case.poisoned_activation([rows, columns])?);
    let lengths_gpu = lengths.as_ref().map(|lengths| case.upload_u32([rows], lengths)).transpose()?;
    case.run(|recorder| softmax.record(recorder, &x_gpu, lengths_gpu.as_ref(), &y))?;
    case.error(&y, &reference.forward(&widen(&x), lengths.as_deref()), 0.0)
}

/// The outputs are those of a masked forward pass, and their gradient is NaN where they are 0.
fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (softmax, reference) = sizes(case);
    let Softmax { rows, columns } = softmax;
    let lengths = case.lengths(rows, columns);
    let y = reference.forward(&widen(&case.values(rows * columns, 1.0)), Some(&lengths));
    let y = case.rounded(y.iter().map(|y| *y as f32).collect());
    let d_y = case.values(rows * columns, 1.0);
    let poisoned: Vec<f32> = d_y.iter().zip(&y).map(|(d, y)| if *y == 0.0 { f32::NAN } else { *d }).collect();
    let y_gpu = case.upload_activation([rows, columns], &y)?;
    let d_y_gpu = case.upload_activation([rows, columns], &poisoned)?;
    let d_x = case.poisoned_activation([rows, columns])?;
    case.run(|recorder| softmax.record_backward(recorder, &y_gpu, &d_y_gpu, &d_x))?;
    let (y, d_y) = (widen(&y), widen(&d_y));
    case.error(&d_x, &reference.backward(&y, &d_y), largest(&y) * largest(&d_y))
}
