//! Steps between bounds of as many parameters as the spans of a large model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    small_model::recorded,
};
use crate::{Gpu, Result, gpu::Dtype, kernels::bounded_step::BoundedStep, reference, validate::widen};

const SPANS: usize = 1024;
const STEP: BoundedStep = BoundedStep { elements: SPANS, low: 0.0, high: 64.0 };

pub(super) fn workloads() -> Vec<Workload> {
    vec![Workload::new(format!("bounded_step/N{SPANS}"), bounded_step)]
}

/// Every repetition goes on from what the one before made; the first one is compared.
fn bounded_step(gpu: &Gpu) -> Result<Subject> {
    let mut draw = Problem::new(gpu);
    let [host_before, host_x] = [(); 2].map(|()| draw.values(SPANS, 1.0));
    let before = gpu.tensor("bench", [SPANS], Dtype::F32, &host_before)?;
    let x = gpu.tensor("bench", [SPANS], Dtype::F32, &host_x)?;
    let found = x.clone();
    recorded(
        gpu,
        |recorder| STEP.record(recorder, &before, &x),
        0,
        move |gpu| {
            let bounds = [STEP.low, STEP.high].map(f64::from);
            let expected = reference::bounded_step::bounded_step(bounds, &widen(&host_before), &widen(&host_x));
            Ok(sample::whole(&gpu.read::<f32>(&found)?, &expected))
        },
    )
}
