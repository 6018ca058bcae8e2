//! Checks of [`crate::kernels::dropout`].

use super::{Case, KernelChecks, ROUNDING, widen};
use crate::{
    Result,
    kernels::{
        Step,
        dropout::{Draw, Dropout},
    },
    reference,
};

/// The error of one product. An element that is dropped on one side only is an error of the order of 1.
const TOLERANCE: f64 = 3e-7;
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "dropout", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some([HALF; 2]) }];

fn run(case: &mut Case<'_>, expected: fn(&reference::dropout::Dropout, &[f64]) -> Vec<f64>) -> Result<f64> {
    let (width, steps) = (case.size(129), case.size(9));
    let row = steps * width;
    let elements = case.size(16) * row;
    let (draw, expected_draw) = match case.below(3) {
        0 => (Draw::Element, reference::dropout::Draw::Element),
        1 => (Draw::Row { width }, reference::dropout::Draw::Row { width }),
        _ => (Draw::Sequence { steps, width }, reference::dropout::Draw::Sequence { steps, width }),
    };
    let rate = [0.0, 0.1, 0.5, 0.9][case.below(4)];
    let (now, operation) = (case.step(), case.bits());
    let row = [0, row][case.below(2)];
    let x = case.values(elements, 1.0);
    let (x_gpu, y) = (case.upload_activation([elements], &x)?, case.poisoned_activation([elements])?);
    let buffer = Step::buffer(case.gpu)?;
    case.gpu.write(&buffer, &now.words())?;
    case.run(|recorder| Dropout { elements, rate, operation, draw, row }.record(recorder, &x_gpu, &buffer, &y))?;
    let (Step { seed, step, .. }, rows) = (now, dropped_rows(&now, row));
    let reference = reference::dropout::Dropout { rate, seed, step, operation, draw: expected_draw, rows };
    case.error(&y, &expected(&reference, &widen(&x)), 0.0)
}

/// The rows of a step, of so many elements each, for the reference.
pub(super) fn dropped_rows(step: &Step, elements: usize) -> reference::dropout::Rows {
    reference::dropout::Rows { elements, rank: step.rank as usize, ranks: step.ranks as usize }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    run(case, reference::dropout::Dropout::forward)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    run(case, reference::dropout::Dropout::backward)
}
