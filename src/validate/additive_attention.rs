//! Checks of [`crate::kernels::additive_attention`].

use super::{Case, Dtype, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result, Tensor,
    kernels::{
        additive_attention::{AdditiveAttention, Backward, Gradients, Inputs, KeyGradients, Tile},
        matmul::Matrix,
    },
    reference::additive_attention as reference,
};

/// Scores sum up to 130 terms that err by 3e-7 each, and the softmax passes their absolute error on.
const TOLERANCE: f64 = 5e-6;

/// Inputs thirty times as large, with outliers of 1e4: tanh saturates, and rounding `query + key` costs what is left.
const TOLERANCE_EXTREME: f64 = 1e-5;

/// The error of one store in f16; of the context a second, where there are more keys than one block. Intermediate values stay
/// f32.
const HALF: f64 = TOLERANCE_EXTREME + 2.0 * ROUNDING;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "additive_attention",
        forward,
        backward: Some(backward),
        f32: [TOLERANCE; 2],
        f16: Some([HALF; 2]),
    },
    KernelChecks {
        kernel: "additive_attention_extreme",
        forward: forward_extreme,
        backward: Some(backward_extreme),
        f32: [TOLERANCE_EXTREME; 2],
        f16: Some([HALF; 2]),
    },
];

fn forward(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, false).forward(case)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, false).backward(case)
}

fn forward_extreme(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, true).forward(case)
}

fn backward_extreme(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, true).backward(case)
}

struct Problem {
    shape: AdditiveAttention,
    query: Vec<f32>,
    key: Vec<f32>,
    energy: Vec<f32>,
    value: Vec<f32>,
    lengths: Vec<u32>,
}

/// A `[B, T, X]` tensor as columns of wider rows, as the decoder keeps its steps side by side.
struct Wide {
    tensor: Tensor,
    offset: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl Wide {
    /// `values`, or poison; what surrounds them is poison. In the type of activations.
    fn new(case: &mut Case<'_>, dims: [usize; 3], values: Option<&[f32]>) -> Result<Self> {
        let dtype = case.dtype;
        Self::of(dtype, case, dims, values)
    }

    /// The same of scores, which are f32.
    fn of_scores(case: &mut Case<'_>, dims: [usize; 3], values: Option<&[f32]>) -> Result<Self> {
        Self::of(Dtype::F32, case, dims, values)
    }

    fn of(dtype: Dtype, case: &mut Case<'_>, dims: [usize; 3], values: Option<&[f32]>) -> Result<Self> {
        let [batch, rows, columns] = dims;
        // Half of them keep 16-byte loads possible.
        let (offset, behind) = if case.coin() { (4, 8) } else { (case.below(4), case.below(4)) };
        let width = offset + columns + behind;
        let mut all = vec![f32::NAN; batch * rows * width];
        for (wide, narrow) in all.chunks_mut(width).zip(values.unwrap_or_default().chunks(columns)) {
            wide[offset..offset + columns].copy_from_slice(narrow);
        }
        case.seen.count(&dims.into());
        let tensor = case.gpu.floats("input", [batch, rows, width], dtype, &all)?;
        Ok(Self { tensor, offset, width, rows, columns })
    }

    fn view(&self) -> Matrix<'_> {
        Matrix { tensor: &self.tensor, offset: self.offset, stride: self.width, batch_stride: self.rows * self.width }
    }

    /// The worst error of the columns; infinite if something beside them was written.
    fn error(&self, case: &Case<'_>, reference: &[f64], scale: f64) -> Result<f64> {
        let all = case.gpu.read_floats(&self.tensor)?;
        let mut values = Vec::with_capacity(reference.len());
        for row in all.chunks(self.width) {
            let inside = self.offset..self.offset + self.columns;
            if row.iter().enumerate().any(|(column, x)| !inside.contains(&column) && !x.is_nan()) {
                return Ok(f64::INFINITY);
            }
            values.extend_from_slice(&row[inside]);
        }
        Ok(super::relative_error(&values, reference, scale))
    }
}

impl Problem {
    fn draw(case: &mut Case<'_>, extreme: bool) -> Self {
        let queries = if case.below(3) == 0 { 1 } else { case.size(65) };
        let keys = case.size(150);
        let shape = AdditiveAttention {
            batch: 1 + case.below(3),
            queries,
            keys,
            // Every other case takes the form for 16-byte loads.
            size: if case.coin() { case.size(130) } else { 4 * case.size(32) },
            value_size: if case.coin() { case.size(130) } else { 4 * case.size(32) },
        };
        let AdditiveAttention { batch, size, value_size, .. } = shape;
        let scale = if extreme { 30.0 } else { 1.0 };
        let mut query = case.values(batch * queries * size, scale);
        let mut key = case.values(batch * keys * size, scale);
        if extreme {
            for values in [&mut query, &mut key] {
                for _ in 0..3 {
                    let at = case.below(values.len());
                    values[at] = if case.coin() { 1e4 } else { -1e4 };
                }
            }
        }
        let energy = case.values(size, 1.0 / (size as f32).sqrt());
        let mut value = case.values(batch * keys * value_size, 1.0);
        let lengths = case.lengths(batch, keys);
        for (b, length) in lengths.iter().enumerate() {
            for s in *length as usize..keys {
                key[(b * keys + s) * size..][..size].fill(f32::NAN);
                value[(b * keys + s) * value_size..][..value_size].fill(f32::NAN);
            }
        }
        Self { shape, query, key, energy, value, lengths }
    }

    fn reference(&self) -> reference::AdditiveAttention {
        let AdditiveAttention { batch, queries, keys, size, value_size } = self.shape;
        reference::AdditiveAttention { batch, queries, keys, size, value_size }
    }

    fn with_reference<T>(&self, f: impl FnOnce(reference::AdditiveAttention, &reference::AdditiveInputs) -> T) -> T {
        let [query, key, energy, value] = [&self.query, &self.key, &self.energy, &self.value].map(|x| widen(x));
        let (query, key, energy, value) = (&*query, &*key, &*energy, &*value);
        f(self.reference(), &reference::AdditiveInputs { query, key, energy, value, lengths: &self.lengths })
    }

    /// The largest `d_context · value` of a query and a valid key.
    fn largest_product(&self, d_context: &[f32]) -> f64 {
        let AdditiveAttention { queries, keys, value_size, .. } = self.shape;
        let mut most = 1.0_f64;
        for (b, length) in self.lengths.iter().enumerate() {
            for d_context in d_context[b * queries * value_size..][..queries * value_size].chunks(value_size) {
                for value in self.value[b * keys * value_size..][..*length as usize * value_size].chunks(value_size) {
                    let product = d_context.iter().zip(value).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
                    most = most.max(product.abs());
                }
            }
        }
        most
    }

    fn forward(&self, case: &mut Case<'_>) -> Result<f64> {
        let shape = self.shape;
        let AdditiveAttention { batch, queries, keys, size, value_size } = shape;
        let query = Wide::new(case, [batch, queries, size], Some(&self.query))?;
        let context = Wide::new(case, [batch, queries, value_size], None)?;
        let weights = if case.coin() { Some(Wide::of_scores(case, [batch, queries, keys], None)?) } else { None };
        let key = case.upload_activation([batch, keys, size], &self.key)?;
        let energy = case.upload([size], &self.energy)?;
        let value = case.upload_activation([batch, keys, value_size], &self.value)?;
        let lengths = case.upload_u32([batch], &self.lengths)?;
        case.run(|recorder| {
            let inputs = Inputs { query: query.view(), key: &key, energy: &energy, value: &value, lengths: &lengths };
            let tile = Tile::choose(recorder.gpu(), &shape);
            shape.record(recorder, tile, &inputs, context.view(), weights.as_ref().map(Wide::view))
        })?;
        let (wanted_context, wanted_weights) = self.with_reference(|reference, inputs| reference.forward(inputs));
        let error = context.error(case, &wanted_context, 1.0)?;
        match &weights {
            Some(weights) => Ok(error.max(weights.error(case, &wanted_weights, 1.0)?)),
            None => Ok(error),
        }
    }

    fn backward(&self, case: &mut Case<'_>) -> Result<f64> {
        let shape = self.shape;
        let AdditiveAttention { batch, queries, keys, size, value_size } = shape;
        let d_context = case.values(batch * queries * value_size, 1.0);
        let d_weights = case.coin().then(|| case.values(batch * queries * keys, 1.0));
        let query = Wide::new(case, [batch, queries, size], Some(&self.query))?;
        let context = Wide::new(case, [batch, queries, value_size], None)?;
        let weights = Wide::of_scores(case, [batch, queries, keys], None)?;
        let d_context_gpu = Wide::new(case, [batch, queries, value_size], Some(&d_context))?;
        let d_weights_gpu = match &d_weights {
            Some(d_weights) => Some(Wide::of_scores(case, [batch, queries, keys], Some(d_weights))?),
            None => None,
        };
        let d_energy = Wide::of_scores(case, [batch, queries, keys], None)?;
        let d_query = Wide::new(case, [batch, queries, size], None)?;
        let key = case.upload_activation([batch, keys, size], &self.key)?;
        let energy = case.upload([size], &self.energy)?;
        let value = case.upload_activation([batch, keys, value_size], &self.value)?;
        let lengths = case.upload_u32([batch], &self.lengths)?;
        let scratch = case.poisoned([shape.scratch()])?;
        let d_key = case.poisoned_activation([batch, keys, size])?;
        let d_energy_vector = case.poisoned([size])?;
        let d_value = case.poisoned_activation([batch, keys, value_size])?;
        let in_halves = case.coin();
        case.run(|recorder| {
            let inputs = Inputs { query: query.view(), key: &key, energy: &energy, value: &value, lengths: &lengths };
            let tile = Tile::choose(recorder.gpu(), &shape);
            let (weights, d_context, d_energy) = (weights.view(), d_context_gpu.view(), d_energy.view());
            shape.record(recorder, tile, &inputs, context.view(), Some(weights))?;
            let d_weights = d_weights_gpu.as_ref().map(Wide::view);
            let backward = Backward { inputs, weights, d_context, d_weights, d_energy };
            let of_keys = KeyGradients { key: &d_key, energy: &d_energy_vector, value: &d_value };
            if !in_halves {
                let gradients = Gradients { query: d_query.view(), of_keys };
                return shape.record_backward(recorder, tile, &backward, &scratch, &gradients);
            }
            shape.record_backward_query(recorder, tile, &backward, d_query.view())?;
            shape.record_backward_key(recorder, tile, &backward, &scratch, &of_keys)
        })?;
        let d_weights = d_weights.as_deref().map(widen);
        let wanted = self
            .with_reference(|reference, inputs| reference.backward(inputs, &widen(&d_context), d_weights.as_deref()));
        // A gradient of the scores is a difference of terms as large as d_context · value, and sums of it cancel as well.
        let scale = self.largest_product(&d_context);
        let sums = scale * largest(&widen(&self.energy));
        Ok([
            d_query.error(case, &wanted.query, sums)?,
            case.error(&d_key, &wanted.key, sums)?,
            case.error(&d_energy_vector, &wanted.energy, scale)?,
            case.error(&d_value, &wanted.value, 1.0)?,
        ]
        .into_iter()
        .fold(0.0, f64::max))
    }
}
