//! Layers to measure the tiles of [`crate::kernels::gru`] with.

use super::{Problem, Subject};
use crate::{
    Result,
    graph::{GruWeights, Value},
    kernels::gru::Tile,
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { shape: &[1, 12, 256, 256], class, tile, build },
    Subject { shape: &[8, 12, 256, 256], class, tile, build },
    Subject { shape: &[16, 12, 256, 256], class, tile, build },
    Subject { shape: &[64, 12, 256, 256], class, tile, build },
];

fn class(shape: &[usize]) -> &'static str {
    Tile::class(shape[0])
}

fn tile(gpu: &crate::Gpu, shape: &[usize]) -> serde_json::Value {
    super::as_value(Tile::choose(gpu, [shape[0], shape[3]], 1))
}

/// Forward and backward of a layer over `[B, S, I]` with H states.
fn build(problem: &mut Problem, shape: &[usize]) -> Result<Vec<Value>> {
    let [batch, steps, input, hidden] = super::extents(shape);
    let scale = 1.0 / (hidden as f32).sqrt();
    let (x, h0) = (problem.values([batch, steps, input], 1.0), problem.values([1, batch, hidden], 0.5));
    let lengths = problem.lengths(batch, steps);
    let weights = GruWeights {
        weight_ih: problem.values([3 * hidden, input], scale),
        weight_hh: problem.values([3 * hidden, hidden], scale),
        bias_ih: problem.values([3 * hidden], 0.1),
        bias_hh: problem.values([3 * hidden], 0.1),
    };
    let (y, _) = problem.graph.gru(x, h0, lengths, &[weights], None)?;
    let wanted = [x, h0, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh];
    problem.with_gradients(y, [batch, steps, hidden], &wanted)
}
