//! Checks of [`crate::kernels::layer_norm`].

use half::f16;

use super::{Case, KernelChecks, ROUNDING, largest, relative_error, widen};
use crate::{
    Result, Tensor,
    gpu::Dtype,
    kernels::layer_norm::{Backward, Inputs, LayerNorm, Norm, Outputs, Parameters},
    reference::{layer_norm as reference, reduction::column_sum},
};

/// Sums of up to 1,100 elements, each row's relative to what it would be had nothing been subtracted.
const FORWARD: f64 = 1e-6;
/// Such a row times gradients, in sums of up to 1,100 elements or 300 rows, relative to their absolute terms.
const BACKWARD: f64 = 1e-6;
/// The error of one store in f16; the gradients of gain and bias stay f32.
const HALF: [f64; 2] = [FORWARD + ROUNDING, BACKWARD + ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "layer_norm",
        forward: |case| forward(case, Norm::Layer),
        backward: Some(|case| backward(case, Norm::Layer)),
        f32: [FORWARD, BACKWARD],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "rms_norm",
        forward: |case| forward(case, Norm::Rms),
        backward: Some(|case| backward(case, Norm::Rms)),
        f32: [FORWARD, BACKWARD],
        f16: Some(HALF),
    },
];

struct Drawn {
    operation: LayerNorm,
    reference: reference::LayerNorm,
    x: Vec<f32>,
    gain: Vec<f32>,
    bias: Option<Vec<f32>>,
    x_gpu: Tensor,
    gain_gpu: Tensor,
    bias_gpu: Option<Tensor>,
}

impl Drawn {
    fn new(case: &mut Case<'_>, norm: Norm) -> Result<Self> {
        let columns = if case.coin() { case.size(129) } else { 1 + case.below(1100) };
        // Every width of a load, and rows in registers.
        let columns = if case.coin() { columns.next_multiple_of(4) } else { columns };
        let rows = case.size(if columns > 129 { 33 } else { 300 });
        let epsilon = [1e-12_f32, 1e-6, 1e-5, 0.1][case.below(4)];
        let of_reference = match norm {
            Norm::Layer => reference::Norm::Layer,
            Norm::Rms => reference::Norm::Rms,
        };
        // Rows around 0, and away from it.
        let offset = [0.0, 0.0, 2.0, -5.0][case.below(4)];
        let x = case.values(rows * columns, 1.0);
        let x = case.rounded(x.into_iter().map(|x| x + offset).collect());
        let gain = case.values(columns, 1.0);
        let bias = (norm == Norm::Layer && case.coin()).then(|| case.values(columns, 1.0));
        Ok(Self {
            operation: LayerNorm { rows, columns, norm, epsilon },
            reference: reference::LayerNorm { rows, columns, norm: of_reference, epsilon: f64::from(epsilon) },
            x_gpu: case.upload_activation([rows, columns], &x)?,
            gain_gpu: case.upload([columns], &gain)?,
            bias_gpu: bias.as_ref().map(|bias| case.upload([columns], bias)).transpose()?,
            x,
            gain,
            bias,
        })
    }

    /// For each row the largest absolute value of x over its deviation, and 1 / deviation: what y is made of before a mean is
    /// subtracted, whose rounding error stays.
    fn rows(&self) -> Vec<[f64; 2]> {
        let LayerNorm { columns, .. } = self.operation;
        let rows = self.x.chunks(columns).map(|row| {
            let row = widen(row);
            let scale = self.reference.statistics(&row).1;
            [largest(&row) * scale, scale]
        });
        rows.collect()
    }

    /// The worst error of a tensor `[rows, columns]`, each row's relative to a scale of its own.
    fn error(&self, case: &Case<'_>, tensor: &Tensor, expected: &[f64], scales: &[f64]) -> Result<f64> {
        let LayerNorm { columns, .. } = self.operation;
        let found = case.gpu.read_floats(tensor)?;
        let floor = if case.dtype == Dtype::F16 { f16::MIN_POSITIVE.to_f64() } else { 1e-6 };
        let rows = found.chunks(columns).zip(expected.chunks(columns)).zip(scales);
        let errors: Vec<_> =
            rows.map(|((found, expected), scale)| relative_error(found, expected, scale.max(floor))).collect();
        Ok(largest(&errors))
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { x: &self.x_gpu, gain: &self.gain_gpu, bias: self.bias_gpu.as_ref() }
    }

    /// y and statistics, full of NaN.
    fn outputs(&self, case: &Case<'_>) -> Result<[Tensor; 2]> {
        let LayerNorm { rows, columns, .. } = self.operation;
        Ok([case.poisoned_activation([rows, columns])?, case.poisoned([rows, 2])?])
    }
}

fn forward(case: &mut Case<'_>, norm: Norm) -> Result<f64> {
    let drawn = Drawn::new(case, norm)?;
    let [y, statistics] = drawn.outputs(case)?;
    let outputs = Outputs { y: &y, statistics: &statistics };
    case.run(|recorder| drawn.operation.record(recorder, &drawn.inputs(), &outputs))?;
    let bias = drawn.bias.as_ref().map(|bias| widen(bias));
    let expected = drawn.reference.forward(&widen(&drawn.x), &widen(&drawn.gain), bias.as_deref());
    let gain = largest(&widen(&drawn.gain));
    let scales: Vec<_> = drawn.rows().iter().map(|[size, _]| size * gain).collect();
    drawn.error(case, &y, &expected, &scales)
}

fn backward(case: &mut Case<'_>, norm: Norm) -> Result<f64> {
    let drawn = Drawn::new(case, norm)?;
    let LayerNorm { rows, columns, .. } = drawn.operation;
    let d_y = case.values(rows * columns, 1.0);
    let d_y_gpu = case.upload_activation([rows, columns], &d_y)?;
    let [y, statistics] = drawn.outputs(case)?;
    let d_x = case.poisoned_activation([rows, columns])?;
    let (d_gain, d_bias) = (case.poisoned([columns])?, case.poisoned([columns])?);
    let scratch = [case.poisoned([drawn.operation.scratch()])?, case.poisoned([drawn.operation.scratch()])?];
    let has_bias = drawn.bias.is_some();
    case.run(|recorder| {
        drawn.operation.record(recorder, &drawn.inputs(), &Outputs { y: &y, statistics: &statistics })?;
        let backward = Backward { x: &drawn.x_gpu, gain: &drawn.gain_gpu, statistics: &statistics, d_y: &d_y_gpu };
        drawn.operation.record_backward(recorder, &backward, &d_x)?;
        let gradients = Parameters { gain: &d_gain, bias: has_bias.then_some(&d_bias) };
        let scratch = Parameters { gain: &scratch[0], bias: has_bias.then_some(&scratch[1]) };
        drawn.operation.record_parameters_backward(recorder, &backward, &gradients, &scratch)
    })?;
    let (x, gain, d_y) = (widen(&drawn.x), widen(&drawn.gain), widen(&d_y));
    let expected = drawn.reference.backward(&x, &gain, &d_y);
    let of_rows = drawn.rows();
    let terms = d_y.chunks(columns).zip(&of_rows);
    let scales: Vec<_> = terms.map(|(d, [size, scale])| scale * largest(d) * largest(&gain) * (1.0 + size)).collect();
    let mut worst = drawn.error(case, &d_x, &expected.x, &scales)?;
    let of_columns = |weight: fn(f64) -> f64| {
        let terms: Vec<_> = d_y.iter().enumerate().map(|(i, d)| d.abs() * weight(of_rows[i / columns][0])).collect();
        largest(&column_sum(&terms, rows, columns))
    };
    worst = worst.max(case.error(&d_gain, &expected.gain, of_columns(|size| size))?);
    if has_bias {
        worst = worst.max(case.error(&d_bias, &expected.bias, of_columns(|_| 1.0))?);
    }
    Ok(worst)
}
