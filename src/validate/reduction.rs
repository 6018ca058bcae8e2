//! Checks of [`crate::kernels::reduction`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result,
    kernels::reduction::{ColumnSum, Sum, SumOfSquares},
    reference::reduction,
};

/// Sums of up to 40,000 elements in two levels, relative to the sum of absolute values.
const TOLERANCE: f64 = 1e-6;
/// Sums are f32; their gradients are stored.
const HALF: [f64; 2] = [TOLERANCE, TOLERANCE + ROUNDING];

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "reduction", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some(HALF) }];

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (rows, columns) = (case.size(300), case.size(129));
    let elements = rows * columns;
    let x = case.values(elements, 1.0);
    let x_gpu = case.upload_activation([rows, columns], &x)?;
    let (sum, squares, by_column) = (Sum { elements }, SumOfSquares { elements }, ColumnSum { rows, columns });
    let scratch = case.poisoned([sum.scratch().max(by_column.scratch())])?;
    let (sum_gpu, squares_gpu, by_column_gpu) = (case.poisoned([1])?, case.poisoned([1])?, case.poisoned([columns])?);
    case.run(|recorder| {
        sum.record(recorder, &x_gpu, &scratch, &sum_gpu)?;
        squares.record(recorder, &x_gpu, &scratch, &squares_gpu)?;
        by_column.record(recorder, &x_gpu, &scratch, &by_column_gpu)
    })?;
    let x = widen(&x);
    let absolute: Vec<f64> = x.iter().map(|x| x.abs()).collect();
    let errors = [
        case.error(&sum_gpu, &[reduction::sum(&x)], reduction::sum(&absolute))?,
        case.error(&squares_gpu, &[reduction::sum_of_squares(&x)], 0.0)?,
        case.error(
            &by_column_gpu,
            &reduction::column_sum(&x, rows, columns),
            largest(&reduction::column_sum(&absolute, rows, columns)),
        )?,
    ];
    Ok(largest(&errors))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (rows, columns) = (case.size(300), case.size(129));
    let elements = rows * columns;
    let (x, d, d_columns) = (case.values(elements, 1.0), case.values(1, 1.0), case.values(columns, 1.0));
    let (x_gpu, d_gpu) = (case.upload_activation([rows, columns], &x)?, case.upload([1], &d)?);
    let d_columns_gpu = case.upload([columns], &d_columns)?;
    let [by_sum, by_squares, by_column] = [
        case.poisoned_activation([elements])?,
        case.poisoned_activation([elements])?,
        case.poisoned_activation([elements])?,
    ];
    case.run(|recorder| {
        Sum { elements }.record_backward(recorder, &d_gpu, &by_sum)?;
        SumOfSquares { elements }.record_backward(recorder, &x_gpu, &d_gpu, &by_squares)?;
        ColumnSum { rows, columns }.record_backward(recorder, &d_columns_gpu, &by_column)
    })?;
    let d = f64::from(d[0]);
    let errors = [
        case.error(&by_sum, &reduction::sum_backward(elements, d), 0.0)?,
        case.error(&by_squares, &reduction::sum_of_squares_backward(&widen(&x), d), 0.0)?,
        case.error(&by_column, &reduction::column_sum_backward(rows, columns, &widen(&d_columns)), 0.0)?,
    ];
    Ok(largest(&errors))
}
