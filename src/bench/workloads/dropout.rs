//! Dropout on the embedded words of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("dropout/N{}", ROWS * SIZE), dropout)
}

fn dropout(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const RATE: f32 = 0.2;
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, SIZE], 1.0);
    let y = problem.graph.dropout(x.value, RATE)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    let (seed, step) = (7, 3);
    let (draw, rows) = (reference::dropout::Draw::Element, reference::dropout::Rows::ALL);
    problem.finish(&outputs, Step { seed, step, ..Step::default() }, move |outputs| {
        // The graph's first node is number 0.
        let reference = reference::dropout::Dropout { rate: RATE, seed, step, operation: 0, draw, rows };
        let y = sample::whole(&outputs[0], &reference.forward(&x.host));
        let [_, gradient] = outputs else { return y };
        sample::worst([y, sample::whole(gradient, &reference.backward(&d_y.host))])
    })
}
