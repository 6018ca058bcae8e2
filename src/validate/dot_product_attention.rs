//! Checks of [`crate::kernels::dot_product_attention`].

use super::{Case, Check, Direction, largest, widen};
use crate::{
    Result, Tensor,
    kernels::dot_product_attention::{DotProductAttention, Gradients, Inputs, Saved, Tile},
    reference::dot_product_attention as reference,
};

/// Scores reach 30 to 100 here, and an f32 score of that size is off by 4e-6: exp makes that an error of its weight.
const FORWARD: f64 = 1e-5;

/// As the forward, twice: the weight, and the difference of two sums that it is multiplied with.
const BACKWARD: f64 = 2e-5;

pub(super) const CHECKS: &[Check] = &[
    Check { kernel: "dot_product_attention", direction: Direction::Forward, tolerance: FORWARD, run: forward },
    Check { kernel: "dot_product_attention", direction: Direction::Backward, tolerance: BACKWARD, run: backward },
];

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
        let attention = DotProductAttention {
            batch: 1 + case.below(3),
            heads: 1 + case.below(3),
            queries: case.size(130),
            keys: case.size(130),
            size: case.size(128),
            causal: case.coin(),
        };
        let DotProductAttention { batch, heads, queries, keys, size, .. } = attention;
        let query = case.values(batch * heads * queries * size, 1.0);
        let [mut key, mut value] = [(); 2].map(|()| case.values(batch * heads * keys * size, 1.0));
        let lengths = case.lengths(batch, keys);
        let (query_gpu, lengths_gpu) =
            (case.upload([batch, heads, queries, size], &query)?, case.upload_u32([batch], &lengths)?);
        // What the lengths hide must not count whatever it holds.
        let hide = |values: &[f32], with: f32| -> Vec<f32> {
            let hidden = |at: usize| at / size % keys >= lengths[at / (heads * keys * size)] as usize;
            values.iter().enumerate().map(|(at, value)| if hidden(at) { with } else { *value }).collect()
        };
        let shape = [batch, heads, keys, size];
        let (key_gpu, value_gpu) =
            (case.upload(shape, &hide(&key, f32::NAN))?, case.upload(shape, &hide(&value, f32::NAN))?);
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
    let context = case.poisoned([batch, heads, queries, size])?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), &context, &log_sum_exp)
    })?;
    let (wanted, denominators) = drawn.reference(|attention, inputs| attention.forward(inputs));
    Ok(case.error(&context, &wanted, 1.0)?.max(case.error(&log_sum_exp, &denominators, 1.0)?))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let DotProductAttention { batch, heads, queries, keys, size, .. } = drawn.attention;
    let (query_shape, key_shape) = ([batch, heads, queries, size], [batch, heads, keys, size]);
    let d_context = case.values(batch * heads * queries * size, 0.1);
    let d_context_gpu = case.upload(query_shape, &d_context)?;
    let (context, log_sum_exp) = (case.poisoned(query_shape)?, case.poisoned([batch, heads, queries])?);
    let statistics = case.poisoned([batch, heads, queries, 2])?;
    let (d_query, d_key, d_value) = (case.poisoned(query_shape)?, case.poisoned(key_shape)?, case.poisoned(key_shape)?);
    let saved =
        Saved { context: &context, log_sum_exp: &log_sum_exp, d_context: &d_context_gpu, statistics: &statistics };
    let gradients = Gradients { query: &d_query, key: &d_key, value: &d_value };
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), &context, &log_sum_exp)?;
        drawn.attention.record_backward(recorder, tile, &drawn.inputs(), &saved, &gradients)
    })?;
    let wanted = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // A score's gradient is a difference of sums of D products, which cancel where a softmax is nearly one-hot.
    let scale = 0.1 * largest(&widen(&drawn.value)).max(1.0);
    Ok(case.error(&d_query, &wanted.query, scale)?.max(case.error(&d_key, &wanted.key, scale)?).max(case.error(
        &d_value,
        &wanted.value,
        0.1,
    )?))
}
