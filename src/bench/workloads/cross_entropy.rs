//! The loss of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{CLASSES, ROWS, each_pass},
};
use crate::{Gpu, Result, kernels::Step, reference};

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("cross_entropy/R{ROWS}_C{CLASSES}"), cross_entropy)
}

fn cross_entropy(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let logits = problem.random(&[ROWS, CLASSES], 3.0);
    let (targets, tokens) = problem.tokens(&[ROWS], 1, CLASSES as u32);
    let loss = problem.graph.cross_entropy(logits.value, targets, 0.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[logits.value])?);
    }
    let loss_scale = 1.0 / ROWS as f32;
    problem.finish(&outputs, Step { loss_scale, ..Step::default() }, move |outputs| {
        let reference = reference::cross_entropy::CrossEntropy {
            rows: ROWS,
            classes: CLASSES,
            smoothing: 0.0,
            scale: f64::from(loss_scale),
            padding: 0,
        };
        let loss = sample::whole(&outputs[0], &[reference.forward(&logits.host, &tokens)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&logits.host, &tokens, 1.0))])
    })
}
