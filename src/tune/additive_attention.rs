//! Attentions to measure the tiles of [`crate::kernels::additive_attention`] with.

use super::{Problem, Subject};
use crate::{
    Result,
    graph::Value,
    kernels::additive_attention::{AdditiveAttention, Tile},
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { shape: &[64, 1, 24, 256, 512], class, tile, build },
    Subject { shape: &[64, 12, 12, 256, 256], class, tile, build },
    Subject { shape: &[32, 24, 24, 256, 256], class, tile, build },
    Subject { shape: &[4, 128, 128, 256, 256], class, tile, build },
];

fn attention(shape: &[usize]) -> AdditiveAttention {
    let [batch, queries, keys, size, value_size] = super::extents(shape);
    AdditiveAttention { batch, queries, keys, size, value_size }
}

fn class(shape: &[usize]) -> &'static str {
    Tile::class(&attention(shape))
}

fn tile(gpu: &crate::Gpu, shape: &[usize]) -> serde_json::Value {
    super::as_value(Tile::choose(gpu, &attention(shape)))
}

/// Forward and backward over `[B, T, A]`, `[B, S, A]` and `[B, S, V]`. With one query forward alone: a decoder's loop, where
/// such shapes occur, does the larger half of the backward after the loop, for all queries.
fn build(problem: &mut Problem, shape: &[usize]) -> Result<Vec<Value>> {
    let AdditiveAttention { batch, queries, keys, size, value_size } = attention(shape);
    let (query, key) = (problem.values([batch, queries, size], 1.0), problem.values([batch, keys, size], 1.0));
    let energy = problem.values([size], 1.0 / (size as f32).sqrt());
    let value = problem.values([batch, keys, value_size], 1.0);
    let lengths = problem.lengths(batch, keys);
    let (context, weights) = problem.graph.additive_attention(query, key, energy, value, lengths)?;
    if queries == 1 {
        return Ok(vec![context, weights]);
    }
    problem.with_gradients(context, [batch, queries, value_size], &[query, key, energy, value])
}
