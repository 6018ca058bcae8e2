//! The loss of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{CLASSES, ROWS, each_pass},
};
use crate::{
    Gpu, Result,
    graph::Targets,
    kernels::{Step, cross_entropy::Taught},
    reference,
};

pub(super) fn workloads() -> Vec<Workload> {
    let name = format!("cross_entropy/R{ROWS}_C{CLASSES}");
    let mut all = each_pass(&name, |gpu, passes| cross_entropy(gpu, passes, 0.0));
    all.extend(each_pass(&format!("{name}/taught"), |gpu, passes| cross_entropy(gpu, passes, 0.5)));
    all
}

/// The loss of the targets, of which a teacher has a part.
fn cross_entropy(gpu: &Gpu, passes: Passes, weight: f32) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let logits = problem.random(&[ROWS, CLASSES], 3.0);
    let (tokens, words) = problem.tokens(&[ROWS], 1, CLASSES as u32);
    // Any weights that add up to 1 are a distribution.
    let mean = problem.floats(&[ROWS, CLASSES], &[1.0 / CLASSES as f32; ROWS * CLASSES]);
    let taught = (weight > 0.0).then_some((mean.value, Taught { count: 1, weight }));
    let loss = problem.graph.cross_entropy(logits.value, Targets { taught, ..tokens.into() }, 0.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[logits.value])?);
    }
    let loss_scale = 1.0 / ROWS as f32;
    problem.finish(&outputs, Step { loss_scale, ..Step::default() }, move |outputs| {
        let loss = reference::cross_entropy::CrossEntropy {
            rows: ROWS,
            classes: CLASSES,
            smoothing: 0.0,
            impossible: 0,
            scale: f64::from(loss_scale),
            padding: 0,
        };
        let reference = reference::cross_entropy::Taught { loss, mean: &mean.host, weight: f64::from(weight) };
        let loss = sample::whole(&outputs[0], &[reference.forward(&logits.host, &words)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&logits.host, &words, 1.0))])
    })
}
