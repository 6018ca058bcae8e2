//! W7: multi-head scaled dot-product attention.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes, typed,
};
use crate::{Gpu, Result, gpu::Dtype, kernels::Step, reference::dot_product_attention as reference};

/// B, heads, T, S, D.
const SHAPES: [[usize; 5]; 2] = [[8, 8, 256, 256, 64], [1, 8, 2048, 2048, 64]];

/// Shapes that are measured in f16 too.
const HALF_SHAPES: [[usize; 5]; 1] = [[8, 8, 256, 256, 64]];

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |(dtype, shape): (Dtype, [usize; 5])| {
        let [batch, heads, queries, keys, size] = shape;
        Passes::ALL.map(|passes| {
            let key = format!("W7/B{batch}_h{heads}_T{queries}_S{keys}_D{size}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| attention(gpu, dtype, shape, passes))
        })
    };
    typed(&SHAPES, &HALF_SHAPES).flat_map(of_shape).collect()
}

pub(super) fn attention(
    gpu: &Gpu,
    dtype: Dtype,
    [batch, heads, queries, keys, size]: [usize; 5],
    passes: Passes,
) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let query = problem.random(&[batch, heads, queries, size], 2.0);
    let [key, value] = [2.0, 1.0].map(|scale| problem.random(&[batch, heads, keys, size], scale));
    let full = vec![keys as u32; batch];
    let lengths = problem.words(&[batch], &full);
    let context = problem.graph.dot_product_attention(query.value, key.value, value.value, lengths, false)?;
    // Queries do not depend on each other, and what is upstream of the others is 0: so all gradients can be compared.
    let sampled = sample::spread(queries, sample::affordable(queries, batch * heads * keys * size * 6));
    let rows: Vec<usize> =
        (0..batch * heads).flat_map(|head| sampled.iter().map(move |t| head * queries + t)).collect();
    let mut upstream = problem.values(batch * heads * queries * size, 1.0);
    sample::only_rows(&mut upstream, size, &rows);
    let mut outputs = vec![context];
    if passes == Passes::Both {
        let d_context = problem.floats(&[batch, heads, queries, size], &upstream);
        let wanted = [query.value, key.value, value.value];
        outputs.extend(problem.graph.gradients_from(&[(context, d_context.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let (queries, scale) = (sampled.len(), reference::standard_scale(size));
        let attention = reference::DotProductAttention { batch, heads, queries, keys, size, causal: false, scale };
        let query = sample::rows(&query.host, size, &rows);
        let (key, value) = (&key.host, &value.host);
        let inputs = reference::DotProductInputs { query: &query, key, value, lengths: &full, bias: None, kept: None };
        let context = sample::some(&outputs[0], size, &rows, &attention.forward(&inputs).0);
        let [_, d_query, d_key, d_value] = outputs else { return context };
        let upstream: Vec<f64> = sample::rows(&upstream, size, &rows).into_iter().map(f64::from).collect();
        let expected = attention.backward(&inputs, &upstream);
        sample::worst([
            context,
            sample::sparse(d_query, size, &rows, &expected.query),
            sample::whole(d_key, &expected.key),
            sample::whole(d_value, &expected.value),
        ])
    })
}
