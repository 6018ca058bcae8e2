//! Checks of [`crate::kernels::bounded_step`].

use super::{Case, KernelChecks, largest, widen};
use crate::{Result, kernels::bounded_step::BoundedStep, reference};

/// One difference, and one product as large as the width between the bounds.
const TOLERANCE: f64 = 1e-6;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks { kernel: "bounded_step", forward: step, backward: None, f32: [TOLERANCE; 2], f16: None },
    // What crosses a bound is the bound.
    KernelChecks { kernel: "bounded_step_across", forward: across, backward: None, f32: [0.0; 2], f16: None },
];

fn step(case: &mut Case<'_>) -> Result<f64> {
    let elements = case.size(300);
    let (x, low) = (case.values(elements, 1.0), -(case.below(3) as f32));
    check(case, &x, low)
}

fn across(case: &mut Case<'_>) -> Result<f64> {
    let elements = case.size(300);
    let x: Vec<f32> = (0..elements).map(|_| if case.coin() { 1e4 } else { -1e4 }).collect();
    check(case, &x, 0.0)
}

/// Steps to `x`, within bounds from `low` on.
fn check(case: &mut Case<'_>, x: &[f32], low: f32) -> Result<f64> {
    let (elements, high) = (x.len(), low + 0.5 + case.below(20) as f32);
    let before = case.values(elements, 1.0);
    let expected = reference::bounded_step::bounded_step([low, high].map(f64::from), &widen(&before), &widen(x));
    let (before_gpu, x_gpu) = (case.upload([elements], &before)?, case.upload([elements], x)?);
    case.run(|recorder| BoundedStep { elements, low, high }.record(recorder, &before_gpu, &x_gpu))?;
    let terms = largest(&widen(&before)) + largest(&widen(x));
    case.error(&x_gpu, &expected, f64::from(high - low) * terms)
}
