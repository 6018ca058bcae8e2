//! Attention over learned spans: a segment and a memory as long as the longest, short spans beside long ones.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::each_pass,
};
use crate::{Gpu, Result, graph::SpanQueries, kernels::Step, reference::span_attention as reference};

const BATCH: usize = 8;
const HEADS: usize = 4;
const SIZE: usize = 64;
const QUERIES: usize = 64;
const LIMIT: usize = 64;
const KEYS: usize = QUERIES + LIMIT;
const RAMP: f32 = 16.0;
/// What heads look like that have learnt: most of them short.
const SPANS: [f32; HEADS] = [1.5, 4.2, 17.8, 63.9];

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("span_attention/B{BATCH}_h{HEADS}_D{SIZE}_T{QUERIES}_L{LIMIT}"), attention)
}

fn attention(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let width = HEADS * SIZE;
    let query = problem.random(&[BATCH, QUERIES, width], 1.0);
    let [key, value] = [(); 2].map(|()| problem.random(&[BATCH, KEYS, width], 1.0));
    let position = problem.parameter(&[LIMIT, SIZE], 1.0);
    let spans = problem.floats(&[HEADS], &SPANS);
    let scale = (SIZE as f32).sqrt().recip();
    let asked = SpanQueries { query: query.value, spans: spans.value, ramp: RAMP, scale };
    let context = problem.graph.span_attention(asked, [key.value, value.value], position.value)?;
    let d_context = problem.random(&[BATCH, QUERIES, width], 1.0);
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let wanted = [query.value, key.value, value.value, position.value, spans.value];
        outputs.extend(problem.graph.gradients_from(&[(context, d_context.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let attention = reference::SpanAttention {
            batch: BATCH,
            heads: HEADS,
            queries: QUERIES,
            keys: KEYS,
            size: SIZE,
            limit: LIMIT,
            ramp: f64::from(RAMP),
            scale: f64::from(scale),
        };
        let inputs = reference::SpanInputs {
            query: &query.host,
            key: &key.host,
            value: &value.host,
            position: &position.host,
            spans: &spans.host,
        };
        let gradients = attention.backward(&inputs, &d_context.host);
        let expected = [
            attention.forward(&inputs),
            gradients.query,
            gradients.key,
            gradients.value,
            gradients.position,
            gradients.spans,
        ];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
