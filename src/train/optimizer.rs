//! Clipping and Adam over all parameters of a model.

use super::{Group, Rate, groups::Groups};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::adam::{Adam, Buffers, Shared, StepReport},
};

/// Adam's settings, as PyTorch's defaults are.
#[derive(Clone, Debug, PartialEq)]
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
    /// Whether biases and norms have no weight decay, as Transformers are trained; version 0.1.0 had it for all parameters.
    pub spares_biases: bool,
    /// Learning rates by the names of parameters; the last one that matches a name is its own.
    pub rates: Vec<Rate>,
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
            spares_biases: true,
            rates: Vec::new(),
            average_decay: None,
            accumulate: false,
            precision: Dtype::F32,
        }
    }
}

/// The tensors of an optimiser: the parameters, and others of the same names and shapes for those that are trained.
#[derive(Clone, Debug)]
pub struct State {
    /// The parameters: in their first buffers those that are trained, behind them those that are frozen.
    pub parameters: Parameters,
    /// What becomes of each of the first buffers.
    pub groups: Vec<Group>,
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
            groups: vec![Group::PLAIN; parameters.blocks().len()],
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
    /// The state of this optimiser before its first step on `parameters`; the moving average starts from their present values. Where
    /// they are trained in several ways, or some are frozen, [`State::parameters`] are copies, with each group in buffers of its own.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a rate whose pattern no name matches, and if all parameters are frozen; [`crate::Error::OutOfMemory`]
    /// when memory runs out.
    pub fn state(&self, gpu: &crate::Gpu, parameters: &Parameters) -> Result<State> {
        // Without decay there is nothing to be spared.
        let spares_biases = self.spares_biases && self.weight_decay > 0.0;
        let (parameters, groups) = Groups::new(&self.rates, spares_biases, parameters)?.lay_out(gpu, parameters)?;
        let trained = parameters.first_blocks(groups.len());
        let total = if self.accumulate { Some(trained.like(gpu, "accumulated gradients")?) } else { None };
        let average = match self.average_decay {
            Some(_) => Some(parameters.copied(gpu, "averaged parameters")?),
            None => None,
        };
        let scaling = match self.precision {
            Dtype::F16 => Some(gpu.tensor("loss scale", [Adam::SCALING.len()], Dtype::F32, &Adam::SCALING)?),
            _ => None,
        };
        Ok(State { parameters, groups, total, average, scaling, ..State::new(gpu, &trained)? })
    }

    fn adam(&self, elements: usize, group: Group) -> Adam {
        let Self { beta1, beta2, epsilon, clip_norm, average_decay, .. } = *self;
        let (rate, weight_decay) = (group.rate, if group.decays { self.weight_decay } else { 0.0 });
        Adam { elements, beta1, beta2, epsilon, clip_norm, rate, weight_decay, average_decay }
    }

    /// Elements of the scratch that [`Optimizer::record`] makes.
    pub fn scratch(&self, state: &State) -> usize {
        state.gradients.blocks().iter().map(|block| self.adam(block.elements(), Group::PLAIN).scratch()).sum()
    }

    /// Records one step from the gradients: the global norm over all of them, then the update of each buffer. If the norm or `loss`
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
        // All of these have the same first blocks; those of frozen parameters have no gradients.
        let State { parameters, groups, gradients, total, first, second, average, scaling, report } = state;
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
        let adams: Vec<_> =
            blocks.iter().zip(groups).map(|(block, group)| self.adam(block.parameters.elements(), *group)).collect();
        let gpu = recorder.gpu().clone();
        let scratch = gpu.zeros("optimizer scratch", [self.scratch(state)], Dtype::F32)?;
        let shared = Shared { step, loss, scaling: scaling.as_ref(), scratch: &scratch, norm: report };
        let mut partials = 0;
        for (adam, buffers) in adams.iter().zip(&blocks) {
            adam.record_norm(recorder, buffers, &shared, partials)?;
            partials += adam.partials(&gpu);
        }
        self.adam(any.elements(), Group::PLAIN).record_settings(recorder, partials, any, &shared)?;
        adams.iter().zip(&blocks).try_for_each(|(adam, buffers)| adam.record_update(recorder, buffers, &shared))
    }
}
