//! Checks of [`crate::kernels::attention_weights`].

use super::{Case, KernelChecks, largest, widen};
use crate::{
    Result,
    kernels::{
        attention_weights::{AttentionWeights, Inputs},
        dot_product_attention::Heads,
        matmul::Matrix,
    },
    reference,
};

/// Relative to the largest score: the exponential makes its rounding, and that of the denominator's logarithm, that of a weight.
const TOLERANCE: f64 = 1e-6;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "attention_weights",
    forward,
    backward: None,
    f32: [TOLERANCE, 0.0],
    f16: Some([TOLERANCE, 0.0]),
}];

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (batch, heads, queries, keys, size) = (case.size(4), case.size(4), case.size(17), case.size(33), case.size(33));
    let scale = (size as f32).sqrt().recip();
    let (query, key) =
        (case.values(batch * queries * heads * size, 1.0), case.values(batch * keys * heads * size, 1.0));
    let lengths: Vec<u32> = case.lengths(batch, keys).iter().map(|length| (*length).max(1)).collect();
    let reference =
        reference::attention_weights::AttentionWeights { batch, heads, queries, keys, size, scale: f64::from(scale) };
    let query_gpu = case.upload_activation([batch, queries, heads * size], &query)?;
    let key_gpu = case.upload_activation([batch, keys, heads * size], &key)?;
    let (expected, denominators) = reference.forward(&widen(&query), &widen(&key), &lengths);
    let scale_of_scores = largest(&denominators).max(1.0);
    let denominators: Vec<f32> = denominators.iter().map(|value| *value as f32).collect();
    let log_sum_exp = case.upload([batch, heads, queries], &denominators)?;
    let lengths = case.upload_u32([batch], &lengths)?;
    let weights = case.poisoned([batch, queries, keys])?;
    let attention = AttentionWeights { batch, heads, queries, keys, size, scale };
    let inputs = Inputs {
        query: Heads::side_by_side(&query_gpu, 0, size),
        key: Heads::side_by_side(&key_gpu, 0, size),
        lengths: &lengths,
        log_sum_exp: &log_sum_exp,
    };
    case.run(|recorder| attention.record(recorder, &inputs, Matrix::rows(&weights)))?;
    case.error(&weights, &expected, scale_of_scores)
}
