//! The model's steps in a search. Keys and values of the text so far stay in caches.

use super::Gpt2;
use crate::{
    Error, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::{Activation, Matrix},
    },
    model::{
        CachedLayer, Encoder, FeedForwardRows, FeedForwardTensors, HeadSizes, LayerNormTensors, Layers, LinearTensors,
        NormOrder, PositionTensors, SearchRoom, StepCaches, StepOutputs, StepRows, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct Gpt2Stepper {
    network: Gpt2,
    search: BeamSearch,
    table: Tensor,
    positions: PositionTensors,
    layers: Vec<StepLayer>,
    norm: LayerNormTensors,
    output: LinearTensors,
    caches: StepCaches,
    rows: StepRows,
    /// `[R, D]`
    words: Tensor,
    between: FeedForwardRows,
}

/// One layer.
#[derive(Debug)]
struct StepLayer {
    attention: CachedLayer,
    attention_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl Gpt2Stepper {
    pub fn new(network: &Gpt2, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (config, rows) = (&network.config, search.rows());
        let caches = StepCaches::new(room, HeadSizes::sharing(config.hidden, config.heads), None)?;
        let layers = network.layers.iter().map(|layer| {
            Ok(StepLayer {
                attention: CachedLayer::new(
                    gpu,
                    &caches,
                    [layer.projection.tensors(parameters)?, layer.output.tensors(parameters)?],
                )?,
                attention_norm: layer.attention_residual.tensors(parameters)?,
                feed_forward: layer.feed_forward.tensors(parameters)?,
                feed_forward_norm: layer.feed_forward_residual.tensors(parameters)?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            table: network.words.weight.tensor(parameters)?,
            positions: network.positions.tensors(gpu, parameters, [search.capacity, config.hidden])?,
            norm: network.norm.tensors(parameters)?,
            output: network.output.tensors(parameters)?,
            caches,
            rows: StepRows::new(gpu, rows, config.hidden)?,
            words: gpu.zeros("words", [rows, config.hidden], Dtype::F32)?,
            between: FeedForwardRows::new(gpu, rows, config.feed_forward, false)?,
            network: network.clone(),
            search,
        })
    }
}

impl Stepper for Gpt2Stepper {
    /// There is nothing to read: every text begins alike.
    fn encoder(&self) -> Result<Encoder> {
        let mut graph = Layers::new().graph;
        let lengths = graph.counts([self.search.sentences], 1);
        Ok(Encoder { graph, lengths, state: None, kept: Vec::new() })
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        if outputs.weights.is_some() {
            return Err(Error::data("an alignment", "needs a source to attend to, and this architecture has none"));
        }
        let mut flow = self.rows.start();
        self.positions.record(recorder, &self.words, (1.0, outputs.counter, step), flow.now())?;
        for layer in &self.layers {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                layer.attention.record_onto(recorder, &self.caches, (step, outputs.counter), None, [x, y])
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        flow.norm(recorder, &self.norm)?;
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, outputs.logits)
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
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
