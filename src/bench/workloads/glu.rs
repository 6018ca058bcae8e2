//! Gated linear units at the size of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("glu/R{ROWS}_C{SIZE}"), glu)
}

fn glu(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, 2 * SIZE], 4.0);
    let y = problem.graph.glu(x.value)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::glu::Glu { rows: ROWS, columns: SIZE };
        let expected = [reference.forward(&x.host), reference.backward(&x.host, &d_y.host)];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
