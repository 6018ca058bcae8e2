//! Checks of [`crate::kernels::length_mask`].

use super::{Case, KernelChecks, ROUNDING, widen};
use crate::{Result, kernels::length_mask::LengthMask, reference};

/// One root and one product.
const TOLERANCE: f64 = 1e-6;
/// The error of one store in f16.
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "length_mask",
    forward: mask,
    backward: Some(mask),
    f32: [TOLERANCE; 2],
    f16: Some([HALF; 2]),
}];

/// Either direction: the gradient is the same of that of y.
fn mask(case: &mut Case<'_>) -> Result<f64> {
    let (batch, steps, channels, root) = (case.size(9), case.size(33), case.size(65), case.coin());
    let lengths: Vec<u32> = (0..batch).map(|_| case.below(steps + 1) as u32).collect();
    let mut x = case.values(batch * steps * channels, 1.0);
    let reference = reference::length_mask::LengthMask { batch, steps, channels, root };
    let expected = reference.forward(&widen(&x), &lengths);
    // Past the lengths anything may be.
    for (row, values) in x.chunks_mut(channels).enumerate() {
        if row % steps >= lengths[row / steps] as usize {
            values.fill(f32::NAN);
        }
    }
    let (x, lengths) = (case.upload_activation([batch, steps, channels], &x)?, case.upload_u32([batch], &lengths)?);
    let y = case.poisoned_activation([batch, steps, channels])?;
    let mask = LengthMask { batch, steps, channels, root };
    case.run(|recorder| mask.record(recorder, &x, &lengths, &y))?;
    case.error(&y, &expected, 0.0)
}
