//! Attention within a window of 256 keys to either side, beside W7: what it costs grows with T.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
};
use crate::{
    Gpu, Result,
    graph::{MultiHeadAttention, Window},
    kernels::Step,
    reference::{
        dot_product_attention::{DotProductInputs, standard_scale},
        sliding_window_attention as reference,
    },
};

const HEADS: usize = 8;
const SIZE: usize = 64;
pub(super) const WINDOW: usize = 256;
/// The first position, as for a token that a classification reads.
const GLOBALS: usize = 1;
const STEPS: [usize; 2] = [2048, 4096];

pub(super) fn workloads() -> Vec<Workload> {
    let of_steps = |steps: usize| {
        Passes::ALL.map(|passes| {
            let key = format!("sliding_window_attention/B1_h{HEADS}_T{steps}_D{SIZE}_w{WINDOW}/{}", passes.key());
            Workload::new(key, move |gpu| attention(gpu, [HEADS, steps], passes))
        })
    };
    STEPS.into_iter().flat_map(of_steps).collect()
}

pub(super) fn attention(gpu: &Gpu, [heads, steps]: [usize; 2], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let width = heads * SIZE;
    let [query, key] = [(); 2].map(|()| problem.random(&[1, steps, width], 2.0));
    let [value, upstream] = [(); 2].map(|()| problem.random(&[1, steps, width], 1.0));
    let lengths = problem.words(&[1], &[steps as u32]);
    let globals: Vec<u32> = (0..GLOBALS as u32).collect();
    let globals = Some(problem.words(&[1, GLOBALS], &globals));
    let attention = MultiHeadAttention {
        window: Some(Window { globals, ..Window::of(WINDOW) }),
        ..MultiHeadAttention::new(query.value, key.value, value.value, lengths, heads)
    };
    let context = problem.graph.multi_head_attention(&attention)?.context;
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let wanted = [query.value, key.value, value.value];
        outputs.extend(problem.graph.gradients_from(&[(context, upstream.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        // Heads do not depend on each other: the reference has time for the last one.
        let head: Vec<usize> = (1..=steps).map(|row| row * heads - 1).collect();
        let of_head = |values: &[f64]| sample::rows(values, SIZE, &head);
        let [query, key, value] = [&query, &key, &value].map(|operand| of_head(&operand.host));
        let operation = reference::SlidingWindowAttention {
            batch: 1,
            heads: 1,
            steps,
            size: SIZE,
            window: WINDOW,
            dilation: 1,
            causal: false,
            scale: standard_scale(SIZE),
        };
        let lengths = [steps as u32];
        let inputs =
            DotProductInputs { query: &query, key: &key, value: &value, lengths: &lengths, bias: None, kept: None };
        let globals: Vec<bool> = (0..steps).map(|position| position < GLOBALS).collect();
        let some = |found: &[f32], expected: &[f64]| sample::some(found, SIZE, &head, expected);
        let context = some(&outputs[0], &operation.forward(&inputs, &globals).0);
        let [_, d_query, d_key, d_value] = outputs else { return context };
        let expected = operation.backward(&inputs, &globals, &of_head(&upstream.host));
        sample::worst([
            context,
            some(d_query, &expected.query),
            some(d_key, &expected.key),
            some(d_value, &expected.value),
        ])
    })
}
