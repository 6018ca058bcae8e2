//! Guided alignment of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{BATCH, ROWS, STEPS, each_pass, shares},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("alignment_loss/B{BATCH}_T{STEPS}_S{STEPS}"), alignment_loss)
}

fn alignment_loss(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const SCALE: f32 = 1.0 / ROWS as f32;
    let mut problem = Problem::new(gpu);
    let (weights, expected) = (shares(&mut problem), shares(&mut problem));
    let loss = problem.graph.alignment_loss(weights.value, expected.value, 1.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[weights.value])?);
    }
    problem.finish(&outputs, Step { alignment_scale: SCALE, ..Step::default() }, move |outputs| {
        let (weights, expected) = (weights.host, expected.host);
        let reference = reference::alignment_loss::AlignmentLoss { elements: weights.len(), scale: f64::from(SCALE) };
        let loss = sample::whole(&outputs[0], &[reference.forward(&weights, &expected)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&weights, &expected, 1.0))])
    })
}
