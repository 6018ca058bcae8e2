//! Parameters that training keeps between bounds.

use super::State;
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    kernels::{bounded_step::BoundedStep, copy::Copy, matmul::Matrix},
    model::Architecture,
};

/// A parameter with bounds, and what it is before a step.
#[derive(Debug)]
pub(super) struct Bounded {
    step: BoundedStep,
    parameter: Tensor,
    before: Tensor,
}

impl Bounded {
    /// Those of a model that are trained.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for parameters that are not this model's; [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn all(gpu: &Gpu, network: &dyn Architecture, state: &State) -> Result<Vec<Self>> {
        let trained = network.parameters().into_iter().filter(|one| state.gradients.tensor(&one.name).is_some());
        let with_bounds = trained.filter_map(|one| one.bounds.map(|bounds| (one, bounds)));
        let bounded = with_bounds.map(|(one, [low, high])| {
            let parameter = one.tensor(&state.parameters)?;
            let elements = parameter.elements();
            let before = gpu.zeros("before a step", [elements], Dtype::F32)?;
            Ok(Self { step: BoundedStep { elements, low, high }, parameter, before })
        });
        bounded.collect()
    }

    /// Records what is kept of the parameter before a step of the optimiser.
    ///
    /// # Errors
    /// The errors of the kernel.
    pub fn record_before(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { step, parameter, before } = self;
        let columns = step.elements;
        let rows = |tensor| Matrix { tensor, offset: 0, stride: columns, batch_stride: 0 };
        Copy { rows: 1, columns, batch: 1 }.record(recorder, rows(parameter), None, rows(before))
    }

    /// Records what becomes of the step.
    ///
    /// # Errors
    /// The errors of the kernel.
    pub fn record_after(&self, recorder: &mut Recorder) -> Result<()> {
        self.step.record(recorder, &self.before, &self.parameter)
    }
}
