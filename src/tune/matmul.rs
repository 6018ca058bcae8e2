//! Products to measure the tiles of [`crate::kernels::matmul`] with.

use super::{Problem, Subject};
use crate::{
    Result,
    graph::{Epilogue, Value},
    kernels::matmul::Tile,
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { shape: &[8, 768, 256], class, tile, build },
    Subject { shape: &[16, 768, 256], class, tile, build },
    Subject { shape: &[64, 768, 256], class, tile, build },
    Subject { shape: &[512, 512, 512], class, tile, build },
];

fn class(shape: &[usize]) -> &'static str {
    Tile::class(shape[0])
}

fn tile(gpu: &crate::Gpu, shape: &[usize]) -> serde_json::Value {
    super::as_value(Tile::choose(gpu, shape[0]))
}

/// `[M, K]` times `[K, N]`, as they are and with either operand stored the other way round.
fn build(problem: &mut Problem, shape: &[usize]) -> Result<Vec<Value>> {
    let [m, n, k] = super::extents(shape);
    let scale = 1.0 / (k as f32).sqrt();
    let (a, b) = (problem.values([m, k], 1.0), problem.values([k, n], scale));
    let (a_stored, b_stored) = (problem.values([k, m], 1.0), problem.values([n, k], scale));
    let graph = &mut problem.graph;
    Ok(vec![
        graph.matmul(a, false, b, false, Epilogue::default())?,
        graph.matmul(a, false, b_stored, true, Epilogue::default())?,
        graph.matmul(a_stored, true, b, false, Epilogue::default())?,
    ])
}
