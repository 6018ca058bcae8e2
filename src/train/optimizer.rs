//! Clipping and Adam over all parameters of a model.

use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::adam::{Adam, Buffers, Shared, StepReport},
};

/// Adam's settings, as PyTorch's defaults are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub epsilon: f32,
    /// The global norm that gradients are scaled down to, if any.
    pub clip_norm: Option<f32>,
    /// Decoupled weight decay, as a share of the learning rate.
    pub weight_decay: f32,
    /// Decay of a moving average of the parameters, if one is kept: [`Adam::average_decay`].
    pub average_decay: Option<f64>,
    /// Whether several batches may make one update.
    pub accumulate: bool,
    /// The type in which activations are stored. With f16 the gradients are those of a scaled loss, [`State::scaling`].
    pub precision: Dtype,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: None,
            weight_decay: 0.0,
            average_decay: None,
            accumulate: false,
            precision: Dtype::F32,
        }
    }
}

/// The tensors of an optimiser: the parameters, and others of the same names and shapes.
#[derive(Clone, Debug)]
pub struct State {
    /// The parameters.
    pub parameters: Parameters,
    /// Their gradients from one batch.
    pub gradients: Parameters,
    /// The sum of the gradients of an update's batches, where several may make one.
    pub total: Option<Parameters>,
    /// Adam's first moments.
    pub first: Parameters,
    /// Adam's second moments.
    pub second: Parameters,
    /// The moving average of the parameters, if one is kept.
    pub average: Option<Parameters>,
    /// The loss scale, and how many finite steps it is since it changed: [`Adam::SCALING`].
    pub scaling: Option<Tensor>,
    /// The report of the last step, a [`StepReport`].
    pub report: Tensor,
}

impl State {
    /// Gradients and moments of zero for `parameters`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &crate::Gpu, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            gradients: parameters.like(gpu, "gradients")?,
            first: parameters.like(gpu, "first moments")?,
            second: parameters.like(gpu, "second moments")?,
            total: None,
            average: None,
            scaling: None,
            report: gpu.zeros("report", [Adam::REPORT], Dtype::F32)?,
            parameters: parameters.clone(),
        })
    }

    /// Reads the report of the last step, waiting for it.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] or [`crate::Error::DeviceLost`] if the device failed.
    pub fn read_report(&self, gpu: &crate::Gpu) -> Result<StepReport> {
        Ok(StepReport::of_bytes(&gpu.read(&self.report)?).unwrap_or_default())
    }

    /// Whether every parameter, and every one of their average, is a finite number.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] or [`crate::Error::DeviceLost`] if the device failed.
    pub fn is_finite(&self, gpu: &crate::Gpu) -> Result<bool> {
        for block in [Some(&self.parameters), self.average.as_ref()].into_iter().flatten().flat_map(Parameters::blocks)
        {
            if !gpu.read::<f32>(block)?.iter().all(|value| value.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Optimizer {
    /// The state of this optimiser before its first step on `parameters`; the moving average starts from their present values.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn state(&self, gpu: &crate::Gpu, parameters: &Parameters) -> Result<State> {
        let total = if self.accumulate { Some(parameters.like(gpu, "accumulated gradients")?) } else { None };
        let average = match self.average_decay {
            Some(_) => Some(parameters.copied(gpu, "averaged parameters")?),
            None => None,
        };
        let scaling = match self.precision {
            Dtype::F16 => Some(gpu.tensor("loss scale", [Adam::SCALING.len()], Dtype::F32, &Adam::SCALING)?),
            _ => None,
        };
        Ok(State { total, average, scaling, ..State::new(gpu, parameters)? })
    }

    fn adam(&self, elements: usize) -> Adam {
        let Self { beta1, beta2, epsilon, clip_norm, weight_decay, average_decay, .. } = *self;
        Adam { elements, beta1, beta2, epsilon, clip_norm, weight_decay, average_decay }
    }

    /// Elements of the scratch that [`Optimizer::record`] makes.
    pub fn scratch(&self, state: &State) -> usize {
        state.gradients.blocks().iter().map(|block| self.adam(block.elements()).scratch()).sum()
    }

    /// Records one step from the gradients: the global norm over all buffers, then the update of each. If the norm or `loss`
    /// `[1]` is not finite, nothing changes but the report. Learning rate and step come from the [`crate::kernels::Step`]
    /// buffer, and which batch of an update this is: all but the last only add their gradients to the total.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or a setting is out of its range ([`Adam::record`]).
    pub fn record<'a>(
        &self,
        recorder: &mut Recorder,
        state: &'a State,
        step: &Tensor,
        loss: Option<&Tensor>,
    ) -> Result<()> {
        // All of these have the same names and shapes, and so the same blocks.
        let State { parameters, gradients, total, first, second, average, scaling, report } = state;
        let all = parameters.blocks().iter().zip(gradients.blocks()).zip(first.blocks()).zip(second.blocks());
        let block = |of: &'a Option<Parameters>, index: usize| of.as_ref().and_then(|of| of.blocks().get(index));
        let blocks: Vec<_> = (0..)
            .zip(all)
            .map(|(index, (((parameters, gradients), first), second))| {
                let (total, average) = (block(total, index), block(average, index));
                Buffers { parameters, gradients, total, first, second, average }
            })
            .collect();
        let Some(Buffers { gradients: any, .. }) = blocks.first() else { return Ok(()) };
        let gpu = recorder.gpu().clone();
        let scratch = gpu.zeros("optimizer scratch", [self.scratch(state)], Dtype::F32)?;
        let adam = |buffers: &Buffers<'_>| self.adam(buffers.parameters.elements());
        let shared = Shared { step, loss, scaling: scaling.as_ref(), scratch: &scratch, norm: report };
        let mut partials = 0;
        for buffers in &blocks {
            adam(buffers).record_norm(recorder, buffers, &shared, partials)?;
            partials += adam(buffers).partials(&gpu);
        }
        self.adam(any.elements()).record_settings(recorder, partials, any, &shared)?;
        blocks.iter().try_for_each(|buffers| adam(buffers).record_update(recorder, buffers, &shared))
    }
}
