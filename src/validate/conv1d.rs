//! Checks of [`crate::kernels::conv1d`] with the products that follow it.

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    kernels::{
        conv1d::{Conv1d, Padding},
        matmul::{Matmul, Matrix, Operands, Tile},
        reduction::ColumnSum,
    },
    reference::conv1d as reference,
};

/// Sums of up to 260 products forward, and of as many rows backward, relative to their absolute terms.
const TOLERANCE: f64 = 1e-6;
/// Forward, a result is stored in f16; backward, the gradient of the windows is, and that of x.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 2.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "conv1d", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some(HALF) }];

struct Drawn {
    windows: Conv1d,
    outputs: usize,
    reference: reference::Conv1d,
    x: Vec<f32>,
    /// `[O, C, width]`, as the reference takes it.
    weight: Vec<f64>,
    x_gpu: Tensor,
    /// `[O, width, C]`, as the products take it.
    weight_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let (batch, steps, channels) = (1 + case.below(3), case.size(33), case.size(37));
        let (outputs, width) = (case.size(17), 1 + case.below(7));
        let (padding, of_reference) =
            [(Padding::Same, reference::Padding::Same), (Padding::Causal, reference::Padding::Causal)][case.below(2)];
        let x = case.values(batch * steps * channels, 1.0);
        let weight = case.values(outputs * width * channels, 1.0);
        let windows = Conv1d { batch, steps, channels, width, padding };
        Ok(Self {
            windows,
            outputs,
            reference: reference::Conv1d { batch, steps, channels, outputs, width, padding: of_reference },
            x_gpu: case.upload_activation([batch, steps, channels], &x)?,
            weight_gpu: case.upload([outputs, width, channels], &weight)?,
            weight: channels_first(&widen(&weight), windows),
            x,
        })
    }

    /// A product over the windows, folded into rows.
    fn product(&self, m: usize, n: usize, k: usize) -> Matmul {
        Matmul { m, n, k, batch: 1, ..Matmul::default() }
    }

    /// Steps of all rows, and elements of a window.
    fn sizes(&self) -> [usize; 2] {
        let Conv1d { batch, steps, channels, width, .. } = self.windows;
        [batch * steps, width * channels]
    }
}

/// A weight or its gradient `[O, width, C]` as `[O, C, width]`.
fn channels_first(weight: &[f64], Conv1d { channels, width, .. }: Conv1d) -> Vec<f64> {
    let of_output = |weight: &[f64]| (0..channels * width).map(|i| weight[i % width * channels + i / width]).collect();
    weight.chunks(width * channels).flat_map::<Vec<_>, _>(of_output).collect()
}

/// The same the other way.
fn taps_first(weight: &[f64], Conv1d { channels, width, .. }: Conv1d) -> Vec<f64> {
    let of_output =
        |weight: &[f64]| (0..channels * width).map(|i| weight[i % channels * width + i / channels]).collect();
    weight.chunks(width * channels).flat_map::<Vec<_>, _>(of_output).collect()
}

fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.abs()).collect()
}

/// `a`, `b` and `c` of a product, each as rows of its own length.
fn multiply(
    recorder: &mut Recorder,
    product: Matmul,
    [a, b, c]: [(&Tensor, usize); 3],
    bias: Option<&Tensor>,
) -> Result<()> {
    let tile = Tile::choose(recorder.gpu(), product.m);
    let matrix = |(tensor, stride)| Matrix { tensor, offset: 0, stride, batch_stride: 0 };
    product.record(recorder, tile, &Operands { a: matrix(a), b: matrix(b), bias, c: matrix(c) })
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [rows, size] = drawn.sizes();
    let bias = case.values(drawn.outputs, 1.0);
    let bias_gpu = case.upload([drawn.outputs], &bias)?;
    let windows = case.poisoned_activation(drawn.windows.windows())?;
    let y = case.poisoned_activation([rows, drawn.outputs])?;
    let product = Matmul { transpose_b: true, ..drawn.product(rows, drawn.outputs, size) };
    case.run(|recorder| {
        drawn.windows.record(recorder, &drawn.x_gpu, &windows)?;
        let operands = [(&windows, size), (&drawn.weight_gpu, size), (&y, drawn.outputs)];
        multiply(recorder, product, operands, Some(&bias_gpu))
    })?;
    let (x, bias) = (widen(&drawn.x), widen(&bias));
    let terms = drawn.reference.forward(&absolute(&x), &absolute(&drawn.weight), &absolute(&bias));
    case.error(&y, &drawn.reference.forward(&x, &drawn.weight, &bias), largest(&terms))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let ([rows, size], outputs) = (drawn.sizes(), drawn.outputs);
    let d_y = case.values(rows * outputs, 1.0);
    let d_y_gpu = case.upload_activation([rows, outputs], &d_y)?;
    let [windows, d_windows] =
        [case.poisoned_activation(drawn.windows.windows())?, case.poisoned_activation(drawn.windows.windows())?];
    let d_x = case.poisoned_activation([rows, drawn.windows.channels])?;
    let (d_weight, d_bias) = (case.poisoned([outputs, size])?, case.poisoned([outputs])?);
    let sum = ColumnSum { rows, columns: outputs };
    let scratch = case.poisoned([sum.scratch()])?;
    let of_weight = Matmul { transpose_a: true, ..drawn.product(outputs, size, rows) };
    case.run(|recorder| {
        drawn.windows.record(recorder, &drawn.x_gpu, &windows)?;
        let of_windows = [(&d_y_gpu, outputs), (&drawn.weight_gpu, size), (&d_windows, size)];
        multiply(recorder, drawn.product(rows, size, outputs), of_windows, None)?;
        drawn.windows.record_backward(recorder, &d_windows, &d_x)?;
        multiply(recorder, of_weight, [(&d_y_gpu, outputs), (&windows, size), (&d_weight, size)], None)?;
        sum.record(recorder, &d_y_gpu, &scratch, &d_bias)
    })?;
    let (x, d_y) = (widen(&drawn.x), widen(&d_y));
    let expected = drawn.reference.backward(&x, &drawn.weight, &d_y);
    let terms = drawn.reference.backward(&absolute(&x), &absolute(&drawn.weight), &absolute(&d_y));
    let errors = [
        case.error(&d_x, &expected.x, largest(&terms.x))?,
        case.error(&d_weight, &taps_first(&expected.weight, drawn.windows), largest(&terms.weight))?,
        case.error(&d_bias, &expected.bias, largest(&terms.bias))?,
    ];
    Ok(largest(&errors))
}
