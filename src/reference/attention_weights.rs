//! The weights of dot-product attention, mean over heads: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.

use super::softmax::softmax;
use super::{dot, expect_lengths, expect_shape};

/// `weights[b, t, s]` = the mean over heads n of `softmax(query[b, n, t] · key[b, n, ..] * scale)[s]`, over keys before a row's length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionWeights {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T.
    pub queries: usize,
    /// Keys per head, S, masked ones included.
    pub keys: usize,
    /// Size of a query or key within one head, D.
    pub size: usize,
    /// The factor on products.
    pub scale: f64,
}

impl AttentionWeights {
    /// The weights `[B, T, S]`, and the logarithms of the softmaxes' denominators `[B, N, T]`, for `query` `[B, T, N, D]` and `key`
    /// `[B, S, N, D]`; each of `lengths` `[B]` is 1 or more.
    pub fn forward(&self, query: &[f64], key: &[f64], lengths: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let Self { batch, heads, queries, keys, size, scale } = *self;
        expect_shape("query", query, &[batch, queries, heads, size]);
        expect_shape("key", key, &[batch, keys, heads, size]);
        expect_lengths(lengths, batch, keys);
        let mut weights = vec![0.0; batch * queries * keys];
        let mut log_sum_exp = vec![0.0; batch * heads * queries];
        for b in 0..batch {
            for n in 0..heads {
                for t in 0..queries {
                    let of_query = &query[((b * queries + t) * heads + n) * size..][..size];
                    let score = |s: usize| dot(of_query, &key[((b * keys + s) * heads + n) * size..][..size]) * scale;
                    let scores: Vec<f64> = (0..lengths[b] as usize).map(score).collect();
                    log_sum_exp[(b * heads + n) * queries + t] = super::softmax::log_sum_exp(&scores);
                    for (s, weight) in softmax(&scores).into_iter().enumerate() {
                        weights[(b * queries + t) * keys + s] += weight / heads as f64;
                    }
                }
            }
        }
        (weights, log_sum_exp)
    }
}
