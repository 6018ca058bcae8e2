//! Attention with relative positions: a segment and a memory of as many steps.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::each_pass,
};
use crate::{Gpu, Result, graph::RelativeQueries, kernels::Step, reference::relative_attention as reference};

const BATCH: usize = 8;
const HEADS: usize = 4;
const SIZE: usize = 64;
const QUERIES: usize = 64;
const KEYS: usize = 2 * QUERIES;

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("relative_attention/B{BATCH}_h{HEADS}_D{SIZE}_T{QUERIES}_S{KEYS}"), attention)
}

fn attention(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let width = HEADS * SIZE;
    let queries = problem.random(&[BATCH, QUERIES, 2 * width], 1.0);
    let [key, value] = [(); 2].map(|()| problem.random(&[BATCH, KEYS, width], 1.0));
    let relative = problem.random(&[KEYS, width], 1.0);
    let lengths = vec![KEYS as u32; BATCH];
    let all = problem.words(&[BATCH], &lengths);
    let scale = (SIZE as f32).sqrt().recip();
    let asked = RelativeQueries { queries: queries.value, heads: HEADS, scale };
    let context = problem.graph.relative_attention(asked, [key.value, value.value], relative.value, all)?;
    let d_context = problem.random(&[BATCH, QUERIES, width], 1.0);
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let wanted = [queries.value, key.value, value.value, relative.value];
        outputs.extend(problem.graph.gradients_from(&[(context, d_context.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let attention = reference::RelativeAttention {
            batch: BATCH,
            heads: HEADS,
            queries: QUERIES,
            keys: KEYS,
            size: SIZE,
            scale: f64::from(scale),
        };
        let inputs = reference::RelativeInputs {
            queries: &queries.host,
            key: &key.host,
            value: &value.host,
            relative: &relative.host,
            lengths: &lengths,
        };
        let gradients = attention.backward(&inputs, &d_context.host);
        let expected =
            [attention.forward(&inputs), gradients.queries, gradients.key, gradients.value, gradients.relative];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
