//! Attentions to measure the tiles of [`crate::kernels::dot_product_attention`] with.

use super::{Problem, Subject};
use crate::{Result, graph::Value, kernels::dot_product_attention::Tile};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { shape: &[1, 8, 256, 256, 32], class, tile, build },
    Subject { shape: &[1, 8, 256, 256, 64], class, tile, build },
    Subject { shape: &[1, 4, 256, 256, 128], class, tile, build },
    Subject { shape: &[1, 2, 256, 256, 256], class, tile, build },
];

fn class(shape: &[usize]) -> &'static str {
    Tile::class(shape[4])
}

fn tile(gpu: &crate::Gpu, shape: &[usize]) -> serde_json::Value {
    super::as_value(Tile::choose(gpu, shape[4]))
}

/// Forward and backward over N heads of `[T, D]` queries and `[S, D]` keys.
fn build(problem: &mut Problem, shape: &[usize]) -> Result<Vec<Value>> {
    let [batch, heads, queries, keys, size] = super::extents(shape);
    let query = problem.values([batch, heads, queries, size], 1.0);
    let (key, value) =
        (problem.values([batch, heads, keys, size], 1.0), problem.values([batch, heads, keys, size], 1.0));
    let lengths = problem.lengths(batch, keys);
    let context = problem.graph.dot_product_attention(query, key, value, lengths, false)?;
    problem.with_gradients(context, [batch, heads, queries, size], &[query, key, value])
}
