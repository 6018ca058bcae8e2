//! Checks of [`crate::kernels::copy`].

use super::{Case, KernelChecks, widen};
use crate::{
    Result,
    kernels::{copy::Copy, matmul::Matrix},
    reference,
};

/// Copies are exact.
const TOLERANCE: f64 = 0.0;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "copy",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some([TOLERANCE; 2]),
}];

fn forward(case: &mut Case<'_>) -> Result<f64> {
    check(case, false)
}

/// The gradient of a copy is the copy the other way.
fn backward(case: &mut Case<'_>) -> Result<f64> {
    check(case, true)
}

/// Columns of a wider tensor in or out; whatever else the wider one holds stays as it is.
fn check(case: &mut Case<'_>, out: bool) -> Result<f64> {
    let (rows, columns, batch) = (case.size(65), case.size(129), 1 + case.below(4));
    let unit = if columns % 4 == 0 { 4 } else { 1 };
    let (before, after) = (case.below(3) * unit, case.below(3) * unit);
    let width = before + columns + after;
    let lengths = case.coin().then(|| case.lengths(batch, rows));
    let lengths_gpu = lengths.as_ref().map(|lengths| case.upload_u32([batch], lengths)).transpose()?;
    let mut x = case.values(batch * rows * columns, 1.0);
    let reference = reference::copy::Copy { rows, columns, batch }.forward(&widen(&x), lengths.as_deref());
    // Masked rows may hold anything.
    if let Some(lengths) = &lengths {
        for (row, values) in x.chunks_mut(columns).enumerate() {
            if row % rows >= lengths[row / rows] as usize {
                values.fill(f32::NAN);
            }
        }
    }
    let mut wide = case.values(batch * rows * width, 1.0);
    let narrow_gpu = if out {
        case.upload_activation([batch, rows, columns], &x)?
    } else {
        case.poisoned_activation([batch, rows, columns])?
    };
    let mut expected = widen(&wide);
    for (row, values) in x.chunks(columns).enumerate() {
        let place = row * width + before..row * width + before + columns;
        if out {
            expected[place].copy_from_slice(&reference[row * columns..][..columns]);
        } else {
            wide[place].copy_from_slice(values);
        }
    }
    let wide_gpu = case.upload_activation([batch, rows, width], &wide)?;
    case.run(|recorder| {
        let (narrow, wide) = (Matrix::batch(&narrow_gpu), Matrix::batch(&wide_gpu).offset(before));
        let (source, target) = if out { (narrow, wide) } else { (wide, narrow) };
        Copy { rows, columns, batch }.record(recorder, source, lengths_gpu.as_ref(), target)
    })?;
    if out { case.error(&wide_gpu, &expected, 0.0) } else { case.error(&narrow_gpu, &reference, 0.0) }
}
