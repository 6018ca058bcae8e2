//! Masks by length at the size of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

/// Steps of a sequence.
const STEPS: usize = 12;
const BATCH: usize = ROWS / STEPS;

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("length_mask/B{BATCH}_T{STEPS}_C{SIZE}"), length_mask)
}

fn length_mask(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let shape = [BATCH, STEPS, SIZE];
    let x = problem.random(&shape, 1.0);
    let lengths: Vec<u32> = (0..BATCH).map(|row| 1 + (row % STEPS) as u32).collect();
    let value = problem.words(&[BATCH], &lengths);
    let y = problem.graph.length_mask(x.value, value, true)?;
    let d_y = problem.random(&shape, 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::length_mask::LengthMask { batch: BATCH, steps: STEPS, channels: SIZE, root: true };
        let expected = [&x.host, &d_y.host].map(|values| reference.forward(values, &lengths));
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
