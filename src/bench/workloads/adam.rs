//! The update of the small model's parameters.

use super::{
    super::{ModelSize, Subject, Workload, problem::Problem, sample},
    small_model::recorded,
};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    kernels::{
        Step,
        adam::{Adam, Buffers, Shared},
    },
    reference,
};

pub(super) fn workloads() -> Vec<Workload> {
    let network = ModelSize::S.network();
    let parameters = network.map_or(0, |network| network.parameters().iter().map(|one| one.shape.elements()).sum());
    vec![Workload::new(format!("adam/N{parameters}"), move |gpu| adam(gpu, parameters))]
}

/// Every repetition goes on from the parameters of the one before; the first one is compared.
fn adam(gpu: &Gpu, elements: usize) -> Result<Subject> {
    let adam = Adam {
        elements,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        rate: 1.0,
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        average_decay: None,
    };
    let learning_rate = 1e-3_f32;
    let mut draw = Problem::new(gpu);
    let upload = |values: &[f32]| gpu.tensor("bench", [elements], Dtype::F32, values);
    let (host_parameters, host_gradients) = (draw.values(elements, 0.1), draw.values(elements, 0.01));
    let (parameters, gradients) = (upload(&host_parameters)?, upload(&host_gradients)?);
    let [first, second] = [gpu.zeros("bench", [elements], Dtype::F32)?, gpu.zeros("bench", [elements], Dtype::F32)?];
    let (scratch, report) =
        (gpu.zeros("bench", [Adam::SCRATCH], Dtype::F32)?, gpu.zeros("bench", [Adam::REPORT], Dtype::F32)?);
    let step = Step::buffer(gpu)?;
    gpu.write(&step, &Step { step: 1, learning_rate, ..Step::default() }.words())?;
    let record = |recorder: &mut Recorder| {
        let buffers = Buffers {
            parameters: &parameters,
            gradients: &gradients,
            total: None,
            first: &first,
            second: &second,
            average: None,
        };
        let shared = Shared { step: &step, loss: None, scaling: None, scratch: &scratch, norm: &report };
        adam.record(recorder, &buffers, &shared)
    };
    let found = parameters.clone();
    recorded(gpu, record, scratch.bytes(), move |gpu| {
        let reference = reference::adam::Adam {
            learning_rate: f64::from(learning_rate),
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: f64::from(adam.epsilon),
            weight_decay: 0.0,
            clip_norm: adam.clip_norm.map(f64::from),
        };
        let widen = crate::validate::widen;
        let (mut parameters, mut first, mut second) =
            (widen(&host_parameters), vec![0.0; elements], vec![0.0; elements]);
        reference.update(1, &mut parameters, &widen(&host_gradients), &mut first, &mut second);
        Ok(sample::whole(&gpu.read(&found)?, &parameters))
    })
}
