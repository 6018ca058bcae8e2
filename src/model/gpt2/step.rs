//! The model's steps in a search.

use super::Gpt2;
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamState, Feed},
        matmul::Matrix,
    },
    model::{
        CachedLayer, CausalLayer, CausalSteps, Encoder, HeadSizes, LayerNormTensors, PositionTensors, SearchRoom,
        StepCaches, StepOutputs, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct Gpt2Stepper {
    steps: CausalSteps,
    positions: PositionTensors,
    norm: LayerNormTensors,
    /// `[R, D]`
    words: Tensor,
}

impl Gpt2Stepper {
    pub fn new(network: &Gpt2, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let config = &network.config;
        let caches = StepCaches::new(room, HeadSizes::sharing(config.hidden, config.heads), None)?;
        let layers = network.layers.iter().map(|layer| {
            let tensors = [layer.projection.tensors(parameters)?, layer.output.tensors(parameters)?];
            let attention = CachedLayer::new(gpu, &caches, tensors)?;
            let around = [&layer.attention_residual, &layer.feed_forward_residual];
            CausalLayer::new(parameters, attention, &layer.feed_forward, around)
        });
        let layers = layers.collect::<Result<_>>()?;
        let vocabulary = (&network.words, &network.output);
        Ok(Self {
            steps: CausalSteps::new(room, parameters, vocabulary, caches, layers, config.feed_forward)?,
            positions: network.positions.tensors(gpu, parameters, [search.capacity, config.hidden])?,
            norm: network.norm.tensors(parameters)?,
            words: gpu.zeros("words", [search.rows(), config.hidden], Dtype::F32)?,
        })
    }
}

impl Stepper for Gpt2Stepper {
    fn encoder(&self) -> Result<Encoder> {
        Ok(self.steps.encoder())
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let Self { steps, positions, norm, words } = self;
        let mut flow = steps.rows.start();
        positions.record(recorder, words, (1.0, outputs.counter, step), flow.now())?;
        steps.record(recorder, outputs, &mut flow, |recorder, (_, attention), rows| {
            attention.record_onto(recorder, &steps.caches, (step, outputs.counter), None, rows)
        })?;
        flow.norm(recorder, norm)?;
        steps.record_logits(recorder, &flow, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        self.steps.feed(&self.words)
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.steps.record_fed(recorder, state, step)
    }
}
