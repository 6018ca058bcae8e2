//! Attention within buckets of a hash, and within chunks of the text: what either costs grows with T.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
};
use crate::{
    Gpu, Result,
    graph::{Buckets, ChunkedAttention},
    kernels::Step,
    reference::{dot_product_attention::standard_scale, lsh_attention as reference},
};

const HEADS: usize = 8;
const SIZE: usize = 64;
const CHUNK: usize = 64;
const ROUNDS: usize = 2;
const BUCKETS: usize = 16;
const STEPS: [usize; 2] = [512, 1024];

pub(super) fn workloads() -> Vec<Workload> {
    let of_steps = |steps: usize| {
        let of_passes = move |passes: Passes| {
            let key =
                |kind: &str| format!("lsh_attention/{kind}_B1_h{HEADS}_T{steps}_D{SIZE}_c{CHUNK}/{}", passes.key());
            [("hashes2", ROUNDS), ("local", 0)].map(|(kind, rounds)| {
                Workload::new(key(kind), move |gpu| attention(gpu, [HEADS, steps], rounds, passes))
            })
        };
        Passes::ALL.into_iter().flat_map(of_passes)
    };
    STEPS.into_iter().flat_map(of_steps).collect()
}

pub(super) fn attention(gpu: &Gpu, [heads, steps]: [usize; 2], rounds: usize, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let width = heads * SIZE;
    let [query, key] = [(); 2].map(|()| problem.random(&[1, steps, width], 2.0));
    let [value, upstream] = [(); 2].map(|()| problem.random(&[1, steps, width], 1.0));
    let lengths = problem.words(&[1], &[steps as u32]);
    let (numbers, buckets) = match rounds {
        0 => (None, Vec::new()),
        _ => {
            let (numbers, buckets) = problem.tokens(&[1, heads, rounds, steps], 0, BUCKETS as u32);
            (Some(Buckets { numbers, count: BUCKETS }), buckets)
        }
    };
    let attention = ChunkedAttention {
        query: query.value,
        key: Some(key.value),
        value: value.value,
        lengths,
        buckets: numbers,
        heads,
        chunk: CHUNK,
        before: 1,
        after: 0,
        causal: true,
        padding: None,
        dropout: 0.0,
    };
    let context = problem.graph.lsh_attention(&attention)?;
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let wanted = [&query, &key, &value].map(|operand| operand.value);
        outputs.extend(problem.graph.gradients_from(&[(context, upstream.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        // Heads do not depend on each other: the reference has time for the last one.
        let head: Vec<usize> = (1..=steps).map(|row| row * heads - 1).collect();
        let of_head = |values: &[f64]| sample::rows(values, SIZE, &head);
        let [query, key, value] = [&query, &key, &value].map(|operand| of_head(&operand.host));
        let operation = reference::LshAttention {
            batch: 1,
            heads: 1,
            steps,
            size: SIZE,
            chunk: CHUNK,
            before: 1,
            after: 0,
            causal: true,
            sees_itself: true,
            scale: standard_scale(SIZE),
            rounds,
            padding: None,
        };
        let inputs = reference::LshInputs {
            query: &query,
            key: &key,
            value: &value,
            lengths: &[steps as u32],
            buckets: &buckets[(heads - 1) * rounds * steps..],
            kept: None,
        };
        let some = |found: &[f32], expected: &[f64]| sample::some(found, SIZE, &head, expected);
        let context = some(&outputs[0], &operation.forward(&inputs));
        let [_, d_query, d_key, d_value] = outputs else { return context };
        let expected = operation.backward(&inputs, &of_head(&upstream.host));
        let gradients = [(d_query, &expected.query), (d_key, &expected.key), (d_value, &expected.value)];
        sample::worst([context].into_iter().chain(gradients.map(|(found, expected)| some(found, expected))))
    })
}
