//! Checks of [`crate::kernels::matmul`].

use super::{Case, Dtype, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result,
    gpu::{Recorder, Tensor},
    kernels::matmul::{Activation, Matmul, Matrix, Operands, Summed, Tile, Types, cooperative_takes},
    reference,
};

/// Sums of up to 129 products. The scale is the largest sum of absolute products, so cancellation does not count.
const TOLERANCE: f64 = 1e-6;
const HALF: f64 = TOLERANCE + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "matmul", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some([HALF; 2]) }];

/// The same by cooperative matrices, products of all sizes, also those too small to pay.
pub(super) const COOPERATIVE: KernelChecks = KernelChecks {
    kernel: "matmul_cooperative",
    forward: |case| forward_by(case, By::Matrices),
    backward: Some(|case| backward_by(case, By::Matrices)),
    f32: [TOLERANCE; 2],
    f16: Some([HALF; 2]),
};

/// What computes the sums: whatever the kernel chooses, or cooperative matrices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Choice,
    Matrices,
}

impl By {
    fn record(
        self,
        recorder: &mut Recorder,
        product: &Matmul,
        operands: Operands<'_>,
        sums: Option<&Tensor>,
    ) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), product.m);
        match (self, sums) {
            (Self::Matrices, sums) => product.record_cooperative(recorder, &Summed { operands, sums }),
            (Self::Choice, Some(sums)) => product.record_summed(recorder, tile, &operands, sums),
            (Self::Choice, None) => product.record(recorder, tile, &operands),
        }
    }
}

fn sizes(case: &mut Case<'_>) -> Matmul {
    // Activations are drawn for one form only, the one that layers use: a driver takes up to a second for each form.
    let layer = case.below(4) == 0;
    // Many are not too few for a GPU.
    let many = case.below(8) == 0;
    let (most, batch) = if many { (33, 33 + case.below(8)) } else { (129, 1 + case.below(3)) };
    Matmul {
        m: case.size(most),
        n: case.size(most),
        k: case.size(129),
        batch,
        transpose_a: !layer && case.coin(),
        transpose_b: layer || case.coin(),
        activation: if layer { [Activation::Tanh, Activation::Sigmoid][case.below(2)] } else { Activation::None },
        accumulate: false,
    }
}

fn as_reference(matmul: &Matmul) -> reference::matmul::Matmul {
    let Matmul { m, n, k, batch, transpose_a, transpose_b, activation, .. } = *matmul;
    let activation = match activation {
        Activation::None => reference::matmul::Activation::None,
        Activation::Tanh => reference::matmul::Activation::Tanh,
        Activation::Sigmoid => reference::matmul::Activation::Sigmoid,
    };
    reference::matmul::Matmul { m, n, k, batch, transpose_a, transpose_b, activation }
}

/// Stored shape of an operand.
fn stored(rows: usize, columns: usize, transposed: bool, batch: usize) -> [usize; 3] {
    if transposed { [batch, columns, rows] } else { [batch, rows, columns] }
}

/// Under f16 any types that the product takes, but for f32 throughout.
fn types(case: &mut Case<'_>, matmul: &Matmul, by: By) -> Types {
    if case.dtype == Dtype::F32 {
        return [Dtype::F32; 3];
    }
    let all = (1..8).map(|bits| [1, 2, 4].map(|bit| if bits & bit == 0 { Dtype::F32 } else { Dtype::F16 }));
    let by_it = |types: Types| by == By::Choice || cooperative_takes(types);
    let taken: Vec<_> = all.filter(|types| matmul.takes(*types) && by_it(*types)).collect();
    taken[case.below(taken.len())]
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    forward_by(case, By::Choice)
}

fn forward_by(case: &mut Case<'_>, by: By) -> Result<f64> {
    let matmul = sizes(case);
    let [of_a, of_b, of_c] = types(case, &matmul, by);
    let Matmul { m, n, k, batch, transpose_a, transpose_b, .. } = matmul;
    let scale = 1.0 / (k as f32).sqrt();
    let (a, b) = (case.values(batch * m * k, 1.0), case.values(batch * k * n, scale));
    let bias = case.coin().then(|| case.values(n, 1.0));
    let (a_gpu, b_gpu) = (
        case.upload_as(of_a, stored(m, k, transpose_a, batch), &a)?,
        case.upload_as(of_b, stored(k, n, transpose_b, batch), &b)?,
    );
    let bias_gpu = bias.as_ref().map(|bias| case.upload([n], bias)).transpose()?;
    let c = case.poisoned_as(of_c, [batch, m, n])?;
    case.run(|recorder| {
        let (a, b, c) = (Matrix::batch(&a_gpu), Matrix::batch(&b_gpu), Matrix::batch(&c));
        by.record(recorder, &matmul, Operands { a, b, bias: bias_gpu.as_ref(), c }, None)
    })?;
    let bias = bias.map(|bias| widen(&bias));
    let reference = as_reference(&matmul);
    // Of what the activation gets: no activation makes an error larger, but it hides how large the sums were.
    let sums = reference::matmul::Matmul { activation: reference::matmul::Activation::None, ..reference };
    let scale = sums.forward(&absolute(&a), &absolute(&b), None);
    case.error(&c, &reference.forward(&widen(&a), &widen(&b), bias.as_deref()), largest(&scale).max(1.0))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    backward_by(case, By::Choice)
}

/// The two products that the backward is, the second one accumulated onto what is there, with the sums of A's columns.
fn backward_by(case: &mut Case<'_>, by: By) -> Result<f64> {
    let (m, n, k) = (case.size(129), case.size(129), case.size(129));
    let (a, b, d_c) = (case.values(m * k, 1.0), case.values(k * n, 1.0), case.values(m * n, 0.1));
    let (before, sums_before) = (case.values(k * n, 1.0), case.values(k, 1.0));
    let beside = case.coin();
    let (a_gpu, b_gpu, d_c_gpu) =
        (case.upload_activation([m, k], &a)?, case.upload([k, n], &b)?, case.upload_activation([m, n], &d_c)?);
    let d_a = case.poisoned_activation([m, k])?;
    // The sums lie behind the product, as parameters of a model do, or in a buffer of their own.
    let behind = (k * n).next_multiple_of(64);
    let mut both = before.clone();
    both.resize(behind, f32::NAN);
    both.extend_from_slice(&sums_before);
    let (both, apart) = (case.upload([both.len()], &both)?, case.upload([k], &sums_before)?);
    let d_b = both.part(0, [k, n], Dtype::F32)?;
    let sums = if beside { both.part(4 * behind as u64, [k], Dtype::F32)? } else { apart };
    case.run(|recorder| {
        let by_a = Matmul { m, n: k, k: n, batch: 1, transpose_b: true, ..Matmul::default() };
        let rows = Matrix::rows;
        by.record(recorder, &by_a, Operands { a: rows(&d_c_gpu), b: rows(&b_gpu), bias: None, c: rows(&d_a) }, None)?;
        let by_b = Matmul { m: k, n, k: m, batch: 1, transpose_a: true, accumulate: true, ..Matmul::default() };
        let operands = Operands { a: rows(&a_gpu), b: rows(&d_c_gpu), bias: None, c: rows(&d_b) };
        by.record(recorder, &by_b, operands, Some(&sums))
    })?;
    let column = |column: usize| (0..m).map(move |row| row * k + column);
    let expected: Vec<_> =
        (0..k).map(|i| f64::from(sums_before[i]) + column(i).map(|at| f64::from(a[at])).sum::<f64>()).collect();
    let scale: Vec<_> = (0..k).map(|i| 1.0 + column(i).map(|at| f64::from(a[at].abs())).sum::<f64>()).collect();
    let of_sums = case.error(&sums, &expected, largest(&scale))?;
    let reference = as_reference(&Matmul { m, n, k, batch: 1, ..Matmul::default() });
    let mut gradients = reference.backward(&widen(&a), &widen(&b), None, &widen(&d_c));
    gradients.b.iter_mut().zip(&before).for_each(|(gradient, before)| *gradient += f64::from(*before));
    let scale = reference.backward(&absolute(&a), &absolute(&b), None, &absolute(&d_c));
    let d_b_scale = largest(&scale.b).max(largest(&widen(&before)));
    let of_products =
        case.error(&d_a, &gradients.a, largest(&scale.a))?.max(case.error(&d_b, &gradients.b, d_b_scale)?);
    Ok(of_products.max(of_sums))
}

fn absolute(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.abs())).collect()
}
