//! Checks of [`crate::kernels::listed_rows`].

use super::{Case, KernelChecks, widen};
use crate::{Result, Tensor, kernels::listed_rows::ListedRows, reference::listed_rows as reference};

/// Values are copied.
const TOLERANCE: [f64; 2] = [0.0; 2];

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "listed_rows",
        forward: take,
        backward: Some(take_backward),
        f32: TOLERANCE,
        f16: Some(TOLERANCE),
    },
    KernelChecks {
        kernel: "listed_rows_put",
        forward: put,
        backward: Some(put_backward),
        f32: TOLERANCE,
        f16: Some(TOLERANCE),
    },
];

struct Drawn {
    rows: ListedRows,
    reference: reference::ListedRows,
    positions: Vec<u32>,
    positions_gpu: Tensor,
    /// `[B, T, D]`, and then as many of the rows `[B, G, D]`.
    values: [Vec<f32>; 2],
    tensors: [Tensor; 2],
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let (batch, steps, listed, size) = (1 + case.below(3), case.size(130), case.size(20), case.size(65));
        let mut positions = Vec::new();
        for _ in 0..batch {
            // Some past the last, in any number.
            let mut list: Vec<u32> = (0..listed).map(|_| case.below(2 * steps) as u32).collect();
            list.sort_unstable();
            list.dedup();
            list.resize(listed, u32::MAX);
            positions.extend(list);
        }
        let positions_gpu = case.upload_u32([batch, listed], &positions)?;
        let values = [steps, listed].map(|rows| case.values(batch * rows * size, 1.0));
        let tensors = [
            case.upload_activation([batch, steps, size], &values[0])?,
            case.upload_activation([batch, listed, size], &values[1])?,
        ];
        let rows = ListedRows { batch, steps, listed, size };
        let reference = reference::ListedRows { batch, steps, listed, size };
        Ok(Self { rows, reference, positions, positions_gpu, values, tensors })
    }

    /// Tensors of NaN like those of the case.
    fn poisoned(&self, case: &Case<'_>) -> Result<[Tensor; 2]> {
        let ListedRows { batch, steps, listed, size } = self.rows;
        Ok([case.poisoned_activation([batch, steps, size])?, case.poisoned_activation([batch, listed, size])?])
    }
}

fn take(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [_, y] = drawn.poisoned(case)?;
    case.run(|recorder| drawn.rows.record(recorder, &drawn.tensors[0], &drawn.positions_gpu, &y))?;
    case.error(&y, &drawn.reference.forward(&widen(&drawn.values[0]), &drawn.positions), 0.0)
}

fn take_backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [d_x, _] = drawn.poisoned(case)?;
    case.run(|recorder| drawn.rows.record_put(recorder, None, Some(&drawn.tensors[1]), &drawn.positions_gpu, &d_x))?;
    case.error(&d_x, &drawn.reference.backward(&widen(&drawn.values[1]), &drawn.positions), 0.0)
}

fn put(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [y, _] = drawn.poisoned(case)?;
    let [base, rows] = &drawn.tensors;
    case.run(|recorder| drawn.rows.record_put(recorder, Some(base), Some(rows), &drawn.positions_gpu, &y))?;
    let [base, rows] = drawn.values.each_ref().map(|values| widen(values));
    case.error(&y, &drawn.reference.put(&base, &rows, &drawn.positions), 0.0)
}

fn put_backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [d_base, d_rows] = drawn.poisoned(case)?;
    let d_y = &drawn.tensors[0];
    case.run(|recorder| {
        drawn.rows.record_put(recorder, Some(d_y), None, &drawn.positions_gpu, &d_base)?;
        drawn.rows.record(recorder, d_y, &drawn.positions_gpu, &d_rows)
    })?;
    let [base, rows] = drawn.reference.put_backward(&widen(&drawn.values[0]), &drawn.positions);
    Ok(case.error(&d_base, &base, 0.0)?.max(case.error(&d_rows, &rows, 0.0)?))
}
