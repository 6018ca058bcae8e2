//! Embedded words of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{CLASSES, ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("embedding/V{CLASSES}_N{ROWS}_E{SIZE}"), embedding)
}

fn embedding(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let table = problem.random(&[CLASSES, SIZE], 1.0);
    let (tokens, host) = problem.tokens(&[ROWS], 0, CLASSES as u32);
    let y = problem.graph.embedding(table.value, tokens)?;
    let upstream = problem.values(ROWS * SIZE, 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        let d_y = problem.floats(&[ROWS, SIZE], &upstream);
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[table.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::embedding::Embedding { vocabulary: CLASSES, size: SIZE, padding: None };
        let y = sample::whole(&outputs[0], &reference.forward(&table.host, &host));
        let [_, gradient] = outputs else { return y };
        let upstream: Vec<f64> = upstream.into_iter().map(f64::from).collect();
        sample::worst([y, sample::whole(gradient, &reference.backward(&host, &upstream))])
    })
}
