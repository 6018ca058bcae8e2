//! Attention with relative positions: a segment and a memory of as many steps.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::each_pass,
};
use crate::{Gpu, Result, graph::RelativeQueries, kernels::Step, reference::relative_attention as reference};

const BATCH: usize = 8;
const HEADS: usize = 4;
pub(super) const SIZE: usize = 64;
const QUERIES: usize = 64;

pub(super) fn workloads() -> Vec<Workload> {
    let key = format!("relative_attention/B{BATCH}_h{HEADS}_D{SIZE}_T{QUERIES}_S{}", 2 * QUERIES);
    each_pass(&key, |gpu, passes| attention(gpu, [BATCH, HEADS, QUERIES], passes))
}

/// Segments of `queries` steps, each of which sees a memory of as many.
pub(super) fn attention(gpu: &Gpu, [batch, heads, queries]: [usize; 3], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let (width, keys) = (heads * SIZE, 2 * queries);
    let content = problem.random(&[batch, queries, 2 * width], 1.0);
    let [key, value] = [(); 2].map(|()| problem.random(&[batch, keys, width], 1.0));
    let relative = problem.random(&[keys, width], 1.0);
    let lengths = vec![keys as u32; batch];
    let all = problem.words(&[batch], &lengths);
    let scale = (SIZE as f32).sqrt().recip();
    let asked = RelativeQueries { queries: content.value, heads, scale };
    let context = problem.graph.relative_attention(asked, [key.value, value.value], relative.value, all)?;
    let d_context = problem.random(&[batch, queries, width], 1.0);
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let wanted = [content.value, key.value, value.value, relative.value];
        outputs.extend(problem.graph.gradients_from(&[(context, d_context.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let scale = f64::from(scale);
        let attention = reference::RelativeAttention { batch, heads, queries, keys, size: SIZE, scale };
        let inputs = reference::RelativeInputs {
            queries: &content.host,
            key: &key.host,
            value: &value.host,
            relative: &relative.host,
            lengths: &lengths,
        };
        let mut expected = vec![attention.forward(&inputs)];
        if outputs.len() > 1 {
            let gradients = attention.backward(&inputs, &d_context.host);
            expected.extend([gradients.queries, gradients.key, gradients.value, gradients.relative]);
        }
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
