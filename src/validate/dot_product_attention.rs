//! Checks of [`crate::kernels::dot_product_attention`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result, Tensor,
    kernels::dot_product_attention::{DotProductAttention, Gradients, Inputs, Saved, Tile},
    reference::dot_product_attention as reference,
};

/// Outliers make scores of up to 100; an f32 score of that size is off by some 4e-6, and exp makes that an error of its weight.
const TOLERANCE: f64 = 5e-6;
/// A case whose scores may be larger is allowed as much more.
const LARGE_SCORE: f64 = 100.0;
/// The error of one store in f16; backward, the stored context's error is in the mean that is taken off a score's gradient.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 2.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "dot_product_attention",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some(HALF),
}];

struct Drawn {
    attention: DotProductAttention,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    lengths: Vec<u32>,
    query_gpu: Tensor,
    key_gpu: Tensor,
    value_gpu: Tensor,
    lengths_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let size = case.size(128);
        let attention = DotProductAttention {
            batch: 1 + case.below(3),
            heads: 1 + case.below(3),
            queries: case.size(130),
            keys: case.size(130),
            // Every width of a load.
            size: if case.coin() { size.next_multiple_of(8) } else { size },
            causal: case.coin(),
        };
        let DotProductAttention { batch, heads, queries, keys, size, .. } = attention;
        let query = case.values(batch * heads * queries * size, 1.0);
        let [mut key, mut value] = [(); 2].map(|()| case.values(batch * heads * keys * size, 1.0));
        let lengths = case.lengths(batch, keys);
        let (query_gpu, lengths_gpu) =
            (case.upload_activation([batch, heads, queries, size], &query)?, case.upload_u32([batch], &lengths)?);
        // Masked rows must not count, whatever they hold.
        let hide = |values: &[f32], with: f32| -> Vec<f32> {
            let hidden = |at: usize| at / size % keys >= lengths[at / (heads * keys * size)] as usize;
            values.iter().enumerate().map(|(at, value)| if hidden(at) { with } else { *value }).collect()
        };
        let shape = [batch, heads, keys, size];
        let (key_gpu, value_gpu) = (
            case.upload_activation(shape, &hide(&key, f32::NAN))?,
            case.upload_activation(shape, &hide(&value, f32::NAN))?,
        );
        (key, value) = (hide(&key, 0.0), hide(&value, 0.0));
        Ok(Self { attention, query, key, value, lengths, query_gpu, key_gpu, value_gpu, lengths_gpu })
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { query: &self.query_gpu, key: &self.key_gpu, value: &self.value_gpu, lengths: &self.lengths_gpu }
    }

    fn reference<T>(
        &self,
        run: impl FnOnce(&reference::DotProductAttention, &reference::DotProductInputs<'_>) -> T,
    ) -> T {
        let DotProductAttention { batch, heads, queries, keys, size, causal } = self.attention;
        let attention = reference::DotProductAttention { batch, heads, queries, keys, size, causal };
        let (query, key, value) = (widen(&self.query), widen(&self.key), widen(&self.value));
        let lengths = &self.lengths;
        run(&attention, &reference::DotProductInputs { query: &query, key: &key, value: &value, lengths })
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let DotProductAttention { batch, heads, queries, size, .. } = drawn.attention;
    let context = case.poisoned_activation([batch, heads, queries, size])?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), &context, &log_sum_exp)
    })?;
    let (wanted, denominators) = drawn.reference(|attention, inputs| attention.forward(inputs));
    // An error of a weight is an error of that share of the values, however small a context they average to.
    let score = longest(&drawn.query, size) * longest(&drawn.key, size) / (size as f64).sqrt();
    let scale = largest(&widen(&drawn.value)).max(1.0) * (score / LARGE_SCORE).max(1.0);
    Ok(case.error(&context, &wanted, scale)?.max(case.error(&log_sum_exp, &denominators, 1.0)?))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let DotProductAttention { batch, heads, queries, keys, size, .. } = drawn.attention;
    let (query_shape, key_shape) = ([batch, heads, queries, size], [batch, heads, keys, size]);
    let d_context = case.values(batch * heads * queries * size, 0.1);
    let d_context_gpu = case.upload_activation(query_shape, &d_context)?;
    let (context, log_sum_exp) = (case.poisoned_activation(query_shape)?, case.poisoned([batch, heads, queries])?);
    let statistics = case.poisoned([batch, heads, queries, 2])?;
    let (d_query, d_key, d_value) = (
        case.poisoned_activation(query_shape)?,
        case.poisoned_activation(key_shape)?,
        case.poisoned_activation(key_shape)?,
    );
    let saved =
        Saved { context: &context, log_sum_exp: &log_sum_exp, d_context: &d_context_gpu, statistics: &statistics };
    let gradients = Gradients { query: &d_query, key: &d_key, value: &d_value };
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), &context, &log_sum_exp)?;
        drawn.attention.record_backward(recorder, tile, &drawn.inputs(), &saved, &gradients)
    })?;
    let wanted = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // A score's gradient is the difference of two products d_context · value, which are nearly equal where one weight is
    // nearly 1: what is left of their rounding errors is as large as the products are.
    let product = longest(&d_context, size) * longest(&drawn.value, size) / (size as f64).sqrt();
    let (d_query_scale, d_key_scale) = (product * largest(&widen(&drawn.key)), product * largest(&widen(&drawn.query)));
    let d_value_scale = largest(&widen(&d_context));
    Ok(case
        .error(&d_query, &wanted.query, d_query_scale)?
        .max(case.error(&d_key, &wanted.key, d_key_scale)?)
        .max(case.error(&d_value, &wanted.value, d_value_scale)?))
}

/// The length of the longest row.
fn longest(values: &[f32], size: usize) -> f64 {
    let length = |row: &[f32]| widen(row).iter().map(|value| value * value).sum::<f64>().sqrt();
    values.chunks(size).map(length).fold(0.0, f64::max)
}
