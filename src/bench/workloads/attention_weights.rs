//! The weights of a layer's attention to a source of 25 tokens, as for a picture.

use super::super::{Subject, Workload, problem::Problem, sample};
use crate::{
    Gpu, Result,
    graph::MultiHeadAttention,
    kernels::{Step, dot_product_attention::standard_scale},
    reference::attention_weights as reference,
};

const BATCH: usize = 1;
const HEADS: usize = 8;
const SIZE: usize = 32;
const STEPS: usize = 25;

pub(super) fn workloads() -> Vec<Workload> {
    vec![Workload::new(format!("attention_weights/B{BATCH}_h{HEADS}_D{SIZE}_T{STEPS}_S{STEPS}"), weights)]
}

fn weights(gpu: &Gpu) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let shape = [BATCH, STEPS, HEADS * SIZE];
    let (query, key) = (problem.random(&shape, 2.0), problem.random(&shape, 2.0));
    let full = vec![STEPS as u32; BATCH];
    let lengths = problem.words(&[BATCH], &full);
    let attention = MultiHeadAttention::new(query.value, key.value, key.value, lengths, HEADS);
    let attended = problem.graph.multi_head_attention(&attention)?;
    let weights = problem.graph.attention_weights(
        [query.value, key.value],
        lengths,
        attended.log_sum_exp,
        (HEADS, standard_scale(SIZE)),
    )?;
    problem.finish(&[weights], Step::default(), move |outputs| {
        let scale = (SIZE as f64).sqrt().recip();
        let attention =
            reference::AttentionWeights { batch: BATCH, heads: HEADS, queries: STEPS, keys: STEPS, size: SIZE, scale };
        sample::whole(&outputs[0], &attention.forward(&query.host, &key.host, &full).0)
    })
}
