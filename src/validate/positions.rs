//! Checks of [`crate::kernels::positions`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result,
    kernels::positions::{Gradients, Inputs, Positions},
    reference,
};

/// One fused multiply-add; backward, sums of up to 16 rows relative to the sums of absolute values.
const TOLERANCE: f64 = 1e-6;
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "positions",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some([HALF; 2]),
}];

fn sizes(case: &mut Case<'_>) -> Positions {
    let (batch, steps, size, first) = (case.size(16), case.size(40), case.size(129), case.below(4));
    let factor = if case.coin() { 1.0 } else { (size as f32).sqrt() };
    Positions { batch, steps, size, places: first + steps + case.below(5), first, factor }
}

fn reference(positions: &Positions) -> reference::positions::Positions {
    let Positions { batch, steps, size, first, factor, .. } = *positions;
    reference::positions::Positions { batch, steps, size, first, factor: f64::from(factor) }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let positions = sizes(case);
    let Positions { batch, steps, size, places, .. } = positions;
    let (x, table) = (case.values(batch * steps * size, 1.0), case.values(places * size, 1.0));
    let x_gpu = case.upload_activation([batch, steps, size], &x)?;
    let table_gpu = case.upload([places, size], &table)?;
    let y = case.poisoned_activation([batch, steps, size])?;
    case.run(|recorder| positions.record(recorder, &Inputs { x: &x_gpu, table: &table_gpu, counter: None }, &y))?;
    case.error(&y, &reference(&positions).forward(&widen(&x), &widen(&table)), 0.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let positions = sizes(case);
    let Positions { batch, steps, size, places, .. } = positions;
    let d_y = case.values(batch * steps * size, 1.0);
    let d_y_gpu = case.upload_activation([batch, steps, size], &d_y)?;
    let (d_x, d_table) = (case.poisoned_activation([batch, steps, size])?, case.poisoned([places, size])?);
    case.run(|recorder| positions.record_backward(recorder, &d_y_gpu, &Gradients { x: &d_x, table: &d_table }))?;
    let (reference, d_y) = (reference(&positions), widen(&d_y));
    let (expected_x, expected_table) = reference.backward(places, &d_y);
    let absolute: Vec<f64> = d_y.iter().map(|d| d.abs()).collect();
    let scale = largest(&reference.backward(places, &absolute).1);
    Ok(case.error(&d_x, &expected_x, 0.0)?.max(case.error(&d_table, &expected_table, scale)?))
}
