//! The model's steps in a search.

use super::Transformer;
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::{Activation, Matrix},
    },
    model::{
        BatchShape, DecoderSizes, DecoderSteps, Encoder, HeadSizes, LayerNorm, LayerNormTensors, Layers, LinearTensors,
        PositionTensors, SearchRoom, StepOutputs, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct TransformerStepper {
    network: Transformer,
    search: BeamSearch,
    keys: usize,
    /// The table of target words.
    table: Tensor,
    positions: PositionTensors,
    embedding_norm: Option<LayerNormTensors>,
    decoder: DecoderSteps,
    norm: Option<LayerNormTensors>,
    output: LinearTensors,
    /// `[R, D]`
    words: Tensor,
}

impl TransformerStepper {
    pub fn new(network: &Transformer, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, .. } = *room;
        let (config, decoder) = (&network.config, &network.decoder);
        let norm = |norm: &Option<LayerNorm>| norm.as_ref().map(|norm| norm.tensors(parameters)).transpose();
        let sizes = DecoderSizes {
            heads: HeadSizes::sharing(config.hidden, config.heads),
            hidden: config.hidden,
            between: config.decoder_feed_forward,
            gated: false,
        };
        Ok(Self {
            table: network.words.target.weight.tensor(parameters)?,
            positions: decoder.positions.tensors(gpu, parameters, [search.capacity, config.hidden])?,
            embedding_norm: norm(&decoder.embedding_norm)?,
            decoder: DecoderSteps::new(room, parameters, &decoder.layers, sizes, None)?,
            norm: norm(&decoder.norm)?,
            output: network.words.output.tensors(parameters)?,
            words: gpu.zeros("words", [search.rows(), config.hidden], Dtype::F32)?,
            network: network.clone(),
            search,
            keys,
        })
    }
}

impl Stepper for TransformerStepper {
    fn encoder(&self) -> Result<Encoder> {
        let shape = BatchShape { rows: self.search.sentences, source: self.keys, target: 0 };
        let mut layers = Layers::new();
        let source = self.network.encode(&mut layers, shape)?;
        let kept = self.decoder.kept(&mut layers, &self.network.decoder.layers, source.states)?;
        Ok(Encoder { graph: layers.graph, lengths: source.lengths, state: None, kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.decoder.record_start(recorder)
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let mut flow = self.decoder.rows.start();
        let place = (self.network.config.factor(), outputs.counter, step);
        self.positions.record(recorder, &self.words, place, flow.now())?;
        if let Some(norm) = &self.embedding_norm {
            flow.norm(recorder, norm)?;
        }
        self.decoder.record(recorder, step, outputs, &mut flow)?;
        if let Some(norm) = &self.norm {
            flow.norm(recorder, norm)?;
        }
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.hidden,
            words: &self.table,
            word_rows: Matrix::rows(&self.words),
            gates: None,
            states: None,
        }
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.decoder.record_fed(recorder, state, step)
    }
}
