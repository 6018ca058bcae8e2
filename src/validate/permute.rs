//! Checks of [`crate::kernels::permute`].

use super::{Case, KernelChecks, widen};
use crate::{Result, kernels::permute::Permute, reference};

/// Elements are moved, and stay what they are.
const TOLERANCE: f64 = 0.0;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "permute",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some([TOLERANCE; 2]),
}];

fn drawn(case: &mut Case<'_>) -> (Permute, reference::permute::Permute) {
    let extents = [case.size(3), case.size(17), case.size(9), case.size(65)];
    let mut order = [0, 1, 2, 3];
    // The last one stays last as often as not.
    let moved = if case.coin() { 3 } else { 4 };
    for place in (1..moved).rev() {
        let other = case.below(place + 1);
        order.swap(place, other);
    }
    (Permute { extents, order }, reference::permute::Permute { extents, order })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (permute, reference) = drawn(case);
    let x = case.values(permute.extents.iter().product(), 1.0);
    let (x_gpu, y) = (case.upload_activation(permute.extents, &x)?, case.poisoned_activation(permute.permuted())?);
    case.run(|recorder| permute.record(recorder, &x_gpu, &y))?;
    case.error(&y, &reference.forward(&widen(&x)), 0.0)
}

/// The gradient takes the way back.
fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (permute, reference) = drawn(case);
    let d_y = case.values(permute.extents.iter().product(), 1.0);
    let d_y_gpu = case.upload_activation(permute.permuted(), &d_y)?;
    let d_x = case.poisoned_activation(permute.extents)?;
    case.run(|recorder| permute.inverse().record(recorder, &d_y_gpu, &d_x))?;
    case.error(&d_x, &reference.backward(&widen(&d_y)), 0.0)
}
