//! Sums of columns, as the gradients of the small model's biases are.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("reduction/columns_R{ROWS}_C{}", 3 * SIZE), reduction)
}

fn reduction(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let (rows, columns) = (ROWS, 3 * SIZE);
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[rows, columns], 1.0);
    let y = problem.graph.column_sum(x.value)?;
    let d_y = problem.random(&[columns], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let y = sample::whole(&outputs[0], &reference::reduction::column_sum(&x.host, rows, columns));
        let [_, gradient] = outputs else { return y };
        let expected = reference::reduction::column_sum_backward(rows, columns, &d_y.host);
        sample::worst([y, sample::whole(gradient, &expected)])
    })
}
