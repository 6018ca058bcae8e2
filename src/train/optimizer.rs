//! Clipping and Adam over all parameters of a model.

use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::adam::Adam,
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
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip_norm: None, weight_decay: 0.0 }
    }
}

/// What an optimiser works on: the parameters, and three more of the same names and shapes.
#[derive(Clone, Debug)]
pub struct State {
    /// The parameters.
    pub parameters: Parameters,
    /// Their gradients.
    pub gradients: Parameters,
    /// Adam's first moments.
    pub first: Parameters,
    /// Adam's second moments.
    pub second: Parameters,
    /// What the last step reported, as [`Adam::record`] says.
    pub report: Tensor,
}

impl State {
    /// Gradients and moments of zero for `parameters`.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when memory runs out.
    pub fn new(gpu: &crate::Gpu, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            gradients: parameters.like(gpu, "gradients")?,
            first: parameters.like(gpu, "first moments")?,
            second: parameters.like(gpu, "second moments")?,
            report: gpu.zeros("report", [Adam::REPORT], Dtype::F32)?,
            parameters: parameters.clone(),
        })
    }
}

impl Optimizer {
    /// Elements of the scratch that [`Optimizer::record`] makes.
    pub fn scratch(&self, state: &State) -> usize {
        let Self { beta1, beta2, epsilon, clip_norm, weight_decay } = *self;
        let adam = |elements| Adam { elements, beta1, beta2, epsilon, clip_norm, weight_decay };
        state.gradients.blocks().iter().map(|block| adam(block.elements()).scratch()).sum()
    }

    /// Records one step from the gradients: the global norm over all buffers, then the update of each. If the norm or `loss`
    /// `[1]` is not finite, nothing changes but the report. Learning rate and step come from the [`crate::kernels::Step`] buffer.
    ///
    /// # Errors
    /// As [`Adam::record`].
    pub fn record(&self, recorder: &mut Recorder, state: &State, step: &Tensor, loss: Option<&Tensor>) -> Result<()> {
        let Self { beta1, beta2, epsilon, clip_norm, weight_decay } = *self;
        let adam = |block: &Tensor| Adam { elements: block.elements(), beta1, beta2, epsilon, clip_norm, weight_decay };
        let gradients = state.gradients.blocks();
        let gpu = recorder.gpu().clone();
        let scratch = gpu.zeros("optimizer scratch", [self.scratch(state)], Dtype::F32)?;
        let mut partials = 0;
        for block in gradients {
            adam(block).record_norm(recorder, block, &scratch, partials)?;
            partials += adam(block).partials(&gpu);
        }
        let any = &gradients[0];
        adam(any).record_settings(recorder, partials, any, step, loss, &scratch, &state.report)?;
        let blocks = state.parameters.blocks().iter().zip(gradients);
        for ((parameters, gradients), (first, second)) in
            blocks.zip(state.first.blocks().iter().zip(state.second.blocks()))
        {
            adam(parameters).record_update(recorder, parameters, gradients, first, second, &scratch)?;
        }
        Ok(())
    }
}
