//! Clipping and Adam over all parameters of a model.

use super::{Group, Rate, Shard, groups::Groups};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::adam::{Adam, Buffers, Shared, StepReport},
    model::Architecture,
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
    /// The rank that this is, if each of several keeps the moments of its part of every tensor alone, and makes the update of that.
    pub shard: Option<Shard>,
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
            shard: None,
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
    /// Adam's first moments; with [`Optimizer::shard`] those of this rank's part of each tensor, of which some have none.
    pub first: Parameters,
    /// Adam's second moments, likewise.
    pub second: Parameters,
    /// The moving average of the parameters, if one is kept.
    pub average: Option<Parameters>,
    /// The loss scale, and how many finite steps it is since it changed: [`Adam::SCALING`].
    pub scaling: Option<Tensor>,
    /// The report of the last step, a [`StepReport`].
    pub report: Tensor,
    /// What a step is made by: settings, and sums of squared gradients.
    pub(super) scratch: Tensor,
}

impl State {
    /// Gradients and moments of zero for `parameters`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &crate::Gpu, parameters: &Parameters) -> Result<Self> {
        Self::with_moments(gpu, parameters, None)
    }

    fn with_moments(gpu: &crate::Gpu, parameters: &Parameters, shard: Option<Shard>) -> Result<Self> {
        let moments = |label: &str| {
            let Some(shard) = shard else { return parameters.like(gpu, label) };
            let tensors = parameters.names().iter().filter_map(|name| Some((name, parameters.tensor(name)?)));
            let parts = tensors.map(|(name, tensor)| (name.clone(), shard.part(tensor.elements()).len()));
            Parameters::new(gpu, parts.filter(|(_, part)| *part > 0).map(|(name, part)| (name, [part].into())))
        };
        let scratch = parameters.blocks().len() * Adam::SCRATCH;
        Ok(Self {
            gradients: parameters.like(gpu, "gradients")?,
            first: moments("first moments")?,
            second: moments("second moments")?,
            scratch: gpu.zeros("optimizer scratch", [scratch], Dtype::F32)?,
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
    /// The state of this optimiser before its first step on a model's `parameters`; the moving average starts from their present values. Where
    /// they are trained in several ways, or some are frozen, [`State::parameters`] are copies, with each group in buffers of its own.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a rate whose pattern no name matches, and if all parameters are frozen; [`crate::Error::OutOfMemory`]
    /// when memory runs out.
    pub fn state(&self, gpu: &crate::Gpu, network: &dyn Architecture, parameters: &Parameters) -> Result<State> {
        // Without decay there is nothing to be spared.
        let spares_biases = self.spares_biases && self.weight_decay > 0.0;
        let groups = Groups::new(&self.rates, spares_biases, network, parameters)?;
        let (parameters, groups) = groups.lay_out(gpu, parameters)?;
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
        let state = State::with_moments(gpu, &trained, self.shard)?;
        Ok(State { parameters, groups, total, average, scaling, ..state })
    }

    /// Records one step from the gradients: the global norm over all of them, then the update of each buffer. If the norm or `loss`
    /// `[1]` is not finite, nothing changes but the report. Learning rate and step come from the [`crate::kernels::Step`]
    /// buffer, and which batch of an update this is: all but the last only add their gradients to the total.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or a setting is out of its range ([`Adam::record`]).
    pub fn record(&self, recorder: &mut Recorder, state: &State, step: &Tensor, loss: Option<&Tensor>) -> Result<()> {
        let shared = shared(state, step, loss);
        let partials = self.record_norms(recorder, state, &shared)?;
        self.record_settings(recorder, state, partials, &shared)?;
        let mut blocks = self.blocks(state).into_iter();
        blocks.try_for_each(|(adam, buffers)| adam.record_update(recorder, &buffers, &shared))
    }

    /// Records, before the step of one of several ranks, what adds its own gradients to their total: what a batch does alone that
    /// is not the last of an update.
    ///
    /// # Errors
    /// As [`Optimizer::record`].
    pub(super) fn record_total(&self, recorder: &mut Recorder, state: &State, step: &Tensor) -> Result<()> {
        match state.total {
            Some(_) => self.record_norms(recorder, state, &shared(state, step, None)).map(drop),
            None => Ok(()),
        }
    }

    /// Records the step of one of several ranks, whose gradients, and what [`State::scratch`] begins with, are of their sums
    /// ([`Adam::scratch_of_squares`]). With [`Optimizer::shard`] it is the step of this rank's part of each tensor.
    ///
    /// # Errors
    /// As [`Optimizer::record`].
    pub(super) fn record_summed(
        &self,
        recorder: &mut Recorder,
        state: &State,
        step: &Tensor,
        loss: Option<&Tensor>,
    ) -> Result<()> {
        let shared = shared(state, step, loss);
        self.record_settings(recorder, state, 1, &shared)?;
        let Some(shard) = self.shard else {
            let mut blocks = self.blocks(state).into_iter();
            return blocks.try_for_each(|(adam, buffers)| {
                adam.record_update(recorder, &Buffers { total: None, ..buffers }, &shared)
            });
        };
        for Own { group, gradients, parameters, first, second, average } in Own::all(state, shard)? {
            let (parameters, gradients, first, second) = (&parameters, &gradients, &first, &second);
            let buffers = Buffers { parameters, gradients, total: None, first, second, average: average.as_ref() };
            self.adam(gradients.elements(), group).record_update(recorder, &buffers, &shared)?;
        }
        Ok(())
    }

    fn adam(&self, elements: usize, group: Group) -> Adam {
        let Self { beta1, beta2, epsilon, clip_norm, average_decay, .. } = *self;
        let (rate, weight_decay) = (group.rate, if group.decays { self.weight_decay } else { 0.0 });
        Adam { elements, beta1, beta2, epsilon, clip_norm, rate, weight_decay, average_decay }
    }

    /// The buffers, with the settings of each. All of a state's tensors have the same first ones; those of frozen parameters have no
    /// gradients.
    fn blocks<'a>(&self, state: &'a State) -> Vec<(Adam, Buffers<'a>)> {
        let State { parameters, groups, gradients, total, first, second, average, .. } = state;
        let all = parameters.blocks().iter().zip(gradients.blocks()).zip(first.blocks()).zip(second.blocks());
        let block = |of: &'a Option<Parameters>, index: usize| of.as_ref().and_then(|of| of.blocks().get(index));
        let blocks = all.zip(groups).enumerate();
        blocks
            .map(|(index, ((((parameters, gradients), first), second), group))| {
                let (total, average) = (block(total, index), block(average, index));
                let buffers = Buffers { parameters, gradients, total, first, second, average };
                (self.adam(parameters.elements(), *group), buffers)
            })
            .collect()
    }

    /// Records the partial sums of the norm, and returns their number.
    fn record_norms(&self, recorder: &mut Recorder, state: &State, shared: &Shared<'_>) -> Result<usize> {
        let mut partials = 0;
        for (index, gradients) in state.gradients.blocks().iter().enumerate() {
            let total = state.total.as_ref().and_then(|total| total.blocks().get(index));
            let adam = self.adam(gradients.elements(), Group::PLAIN);
            adam.record_norm(recorder, (gradients, total), shared, partials)?;
            partials += adam.partials(recorder.gpu());
        }
        Ok(partials)
    }

    fn record_settings(
        &self,
        recorder: &mut Recorder,
        state: &State,
        partials: usize,
        shared: &Shared<'_>,
    ) -> Result<()> {
        let Some(any) = state.gradients.blocks().first() else { return Ok(()) };
        self.adam(any.elements(), Group::PLAIN).record_settings(recorder, partials, any, shared)
    }
}

fn shared<'a>(state: &'a State, step: &'a Tensor, loss: Option<&'a Tensor>) -> Shared<'a> {
    let State { scaling, scratch, report, .. } = state;
    Shared { step, loss, scaling: scaling.as_ref(), scratch, norm: report }
}

/// A rank's part of a tensor that is trained.
struct Own {
    group: Group,
    gradients: Tensor,
    parameters: Tensor,
    first: Tensor,
    second: Tensor,
    average: Option<Tensor>,
}

impl Own {
    /// Those of all tensors of which it has one.
    fn all(state: &State, shard: Shard) -> Result<Vec<Self>> {
        let State { gradients, parameters, first, second, average, .. } = state;
        let part = |of: &Parameters, name: &String| of.tensor(name).map_or(Ok(None), |tensor| shard.of(&tensor));
        let mut all = Vec::new();
        for name in first.names() {
            let whole = gradients.tensor(name);
            let block = |whole: &Tensor| gradients.blocks().iter().position(|block| block.buffer() == whole.buffer());
            let group = whole.as_ref().and_then(block).and_then(|block| state.groups.get(block));
            let moments = first.tensor(name).zip(second.tensor(name));
            let own = part(gradients, name)?.zip(part(parameters, name)?);
            let average = average.as_ref().map_or(Ok(None), |average| part(average, name))?;
            if let (Some(group), Some((first, second)), Some((gradients, parameters))) = (group, moments, own) {
                all.push(Self { group: *group, gradients, parameters, first, second, average });
            }
        }
        Ok(all)
    }
}
