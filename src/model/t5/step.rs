//! The model's steps in a search.

use super::T5;
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::{Activation, Matrix},
        pointwise::Pointwise,
    },
    model::{
        BatchShape, DecoderSizes, DecoderSteps, Encoder, LayerNormTensors, Layers, LinearTensors, RelativeBiasTensors,
        SearchRoom, StepOutputs, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct T5Stepper {
    network: T5,
    search: BeamSearch,
    keys: usize,
    /// The table of target words.
    table: Tensor,
    bias: RelativeBiasTensors,
    decoder: DecoderSteps,
    norm: LayerNormTensors,
    /// `[R, D]`: what the output layer reads, if states are scaled for it.
    scaled: Tensor,
    output: LinearTensors,
}

impl T5Stepper {
    pub fn new(network: &T5, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, .. } = *room;
        let (config, decoder) = (&network.config, &network.decoder);
        let bias = decoder.bias.tensors(gpu, parameters, search.capacity)?;
        let sizes = DecoderSizes {
            heads: config.heads(),
            hidden: config.hidden,
            between: config.feed_forward,
            gated: config.gated,
        };
        Ok(Self {
            table: network.words.target.weight.tensor(parameters)?,
            decoder: DecoderSteps::new(room, parameters, &decoder.layers, sizes, Some(&bias.bias))?,
            bias,
            norm: decoder.norm.tensors(parameters)?,
            scaled: gpu.zeros("scaled", [search.rows(), config.hidden], Dtype::F32)?,
            output: network.words.output.tensors(parameters)?,
            network: network.clone(),
            search,
            keys,
        })
    }
}

impl Stepper for T5Stepper {
    fn encoder(&self) -> Result<Encoder> {
        let shape = BatchShape { rows: self.search.sentences, source: self.keys, target: 0 };
        let mut layers = Layers::new();
        let source = self.network.encode(&mut layers, shape)?;
        let kept = self.decoder.kept(&mut layers, &self.network.decoder.layers, source.states)?;
        Ok(Encoder { graph: layers.graph, lengths: source.lengths, state: None, kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.bias.record_start(recorder)?;
        self.decoder.record_start(recorder)
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let mut flow = self.decoder.rows.start();
        self.decoder.record(recorder, step, outputs, &mut flow)?;
        flow.norm(recorder, &self.norm)?;
        let mut top = flow.now();
        if let Some(factor) = self.network.output_factor() {
            Pointwise::Scale(factor).record(recorder, top, None, &self.scaled)?;
            top = &self.scaled;
        }
        self.output.record(recorder, self.search.rows(), top, Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.hidden,
            words: &self.table,
            // Words have no positions: they are where the layers begin.
            word_rows: Matrix::rows(self.decoder.rows.start().now()),
            gates: None,
            states: None,
        }
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.decoder.record_fed(recorder, state, step)
    }
}
