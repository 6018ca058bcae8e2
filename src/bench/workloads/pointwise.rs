//! tanh of the activations of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("pointwise/tanh_N{}", ROWS * SIZE), pointwise)
}

fn pointwise(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, SIZE], 4.0);
    let y = problem.graph.tanh(x.value)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::pointwise::Pointwise::Tanh;
        let y = sample::whole(&outputs[0], &reference.forward(&x.host, None));
        let [_, gradient] = outputs else { return y };
        sample::worst([y, sample::whole(gradient, &reference.backward(&x.host, None, &d_y.host).0)])
    })
}
