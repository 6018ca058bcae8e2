//! Positions added to embedded words, in batches of the small model's shape.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::each_pass,
};
use crate::{Gpu, Result, kernels::Step, reference};

const BATCH: usize = 128;
const STEPS: usize = 12;
const SIZE: usize = 256;

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("positions/B{BATCH}_T{STEPS}_D{SIZE}"), positions)
}

fn positions(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[BATCH, STEPS, SIZE], 1.0);
    let table = problem.parameter(&[STEPS, SIZE], 1.0);
    let y = problem.graph.positions(x.value, table.value, 0, 16.0)?;
    let d_y = problem.random(&[BATCH, STEPS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value, table.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference =
            reference::positions::Positions { batch: BATCH, steps: STEPS, size: SIZE, first: 0, factor: 16.0 };
        let y = sample::whole(&outputs[0], &reference.forward(&x.host, &table.host));
        let [_, d_x, d_table] = outputs else { return y };
        let expected = reference.backward(STEPS, &d_y.host);
        sample::worst([y, sample::whole(d_x, &expected.0), sample::whole(d_table, &expected.1)])
    })
}
