//! A causal convolution of the activations of the small model, as one of a convolutional decoder's.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{BATCH, SIZE, STEPS, each_pass},
};
use crate::{
    Gpu, Result,
    kernels::{Step, conv1d::Padding},
    reference::conv1d as reference,
};

const WIDTH: usize = 3;

pub(super) fn workloads() -> Vec<Workload> {
    each_pass(&format!("conv1d/causal_B{BATCH}_T{STEPS}_C{SIZE}_O{SIZE}_W{WIDTH}"), conv1d)
}

fn conv1d(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[BATCH, STEPS, SIZE], 1.0);
    let (weight, bias) = (problem.parameter(&[SIZE, SIZE, WIDTH], 0.1), problem.parameter(&[SIZE], 1.0));
    let y = problem.graph.conv1d(x.value, weight.value, Some(bias.value), Padding::Causal)?;
    let d_y = problem.random(&[BATCH, STEPS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        let wanted = [x.value, weight.value, bias.value];
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::Conv1d {
            batch: BATCH,
            steps: STEPS,
            channels: SIZE,
            outputs: SIZE,
            width: WIDTH,
            padding: reference::Padding::Causal,
        };
        let y = reference.forward(&x.host, &weight.host, &bias.host);
        let gradients = reference.backward(&x.host, &weight.host, &d_y.host);
        let expected = [y, gradients.x, gradients.weight, gradients.bias];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
