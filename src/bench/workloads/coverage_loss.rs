//! The coverage loss of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{BATCH, ROWS, STEPS, each_pass, shares},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("coverage_loss/B{BATCH}_T{STEPS}_S{STEPS}"), coverage_loss)
}

fn coverage_loss(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const SCALE: f32 = 1.0 / ROWS as f32;
    let mut problem = Problem::new(gpu);
    let (weights, (targets, tokens)) = (shares(&mut problem), problem.tokens(&[BATCH, STEPS], 0, 8));
    let loss = problem.graph.coverage_loss(weights.value, targets, 1.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[weights.value])?);
    }
    problem.finish(&outputs, Step { loss_scale: SCALE, ..Step::default() }, move |outputs| {
        let (batch, steps, keys, scale) = (BATCH, STEPS, STEPS, f64::from(SCALE));
        let reference = reference::coverage_loss::CoverageLoss { batch, steps, keys, scale, padding: 0 };
        let loss = sample::whole(&outputs[0], &[reference.forward(&weights.host, &tokens)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&weights.host, &tokens, 1.0))])
    })
}
