//! The scores of additive attention by themselves, at the shape of W5 S.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes, typed,
};
use crate::{Gpu, Result, gpu::Dtype, kernels::Step, reference::additive_score as reference};

/// B, T, S, A.
const SHAPES: [[usize; 4]; 2] = [[128, 12, 12, 256], [8, 128, 128, 512]];

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |(dtype, shape): (Dtype, [usize; 4])| {
        let [batch, queries, keys, size] = shape;
        Passes::ALL.map(|passes| {
            let key = format!("additive_score/B{batch}_T{queries}_S{keys}_A{size}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| score(gpu, dtype, shape, passes))
        })
    };
    typed(&SHAPES, &SHAPES[..1]).flat_map(of_shape).collect()
}

fn score(gpu: &Gpu, dtype: Dtype, [batch, queries, keys, size]: [usize; 4], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let (query, key) = (problem.random(&[batch, queries, size], 2.0), problem.random(&[batch, keys, size], 2.0));
    let energy = problem.parameter(&[size], 4.0 / (size as f32).sqrt());
    let full = vec![keys as u32; batch];
    let lengths = problem.words(&[batch], &full);
    let scores = problem.graph.additive_score(query.value, key.value, energy.value, lengths)?;
    // Scores and their gradients are f32 in any case.
    let upstream = problem.parameter(&[batch, queries, keys], 1.0);
    let mut outputs = vec![scores];
    if passes == Passes::Both {
        let inputs = [query.value, key.value, energy.value];
        outputs.extend(problem.graph.gradients_from(&[(scores, upstream.value)], &inputs)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let score = reference::AdditiveScore { batch, queries, keys, size };
        let inputs =
            reference::ScoreInputs { query: &query.host, key: &key.host, energy: &energy.host, lengths: &full };
        let error = sample::whole(&outputs[0], &score.forward(&inputs));
        let [_, d_query, d_key, d_energy] = outputs else { return error };
        let expected = score.backward(&inputs, &upstream.host);
        sample::worst([
            error,
            sample::whole(d_query, &expected.query),
            sample::whole(d_key, &expected.key),
            sample::whole(d_energy, &expected.energy),
        ])
    })
}
