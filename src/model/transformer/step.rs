//! The model's steps in a search. Keys and values of the source are made once, by the encoder's graph; those of the text so far stay
//! in caches.

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
        BatchShape, CachedLayer, Encoder, FeedForwardTensors, LayerNorm, LayerNormTensors, Layers, LinearTensors,
        NormOrder, PositionTensors, SearchRoom, SourceLayer, SourceRows, StepCaches, StepOutputs, StepRows, Stepper,
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
    layers: Vec<StepLayer>,
    norm: Option<LayerNormTensors>,
    output: LinearTensors,
    caches: StepCaches,
    source: SourceRows,
    rows: StepRows,
    /// `[R, D]`
    words: Tensor,
    /// `[R, F]`, two.
    between: [Tensor; 2],
    /// `[2, R, 1]`: the caches hold all that a hypothesis takes along, and the search chooses states of a recurrent model.
    states: Tensor,
}

/// One layer of the decoder.
#[derive(Debug)]
struct StepLayer {
    attention: CachedLayer,
    attention_norm: (LayerNormTensors, NormOrder),
    source: SourceLayer,
    source_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl TransformerStepper {
    pub fn new(network: &Transformer, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, .. } = *room;
        let (config, rows) = (&network.config, search.rows());
        let tensor = |label: &str, columns: usize| gpu.zeros(label, [rows, columns], Dtype::F32);
        let norm = |norm: &Option<LayerNorm>| norm.as_ref().map(|norm| norm.tensors(parameters)).transpose();
        let caches = StepCaches::new(room, config.heads, config.hidden)?;
        let source = SourceRows::new(room, config.heads, config.hidden)?;
        let layers = network.decoder.layers.iter().map(|layer| {
            Ok(StepLayer {
                attention: CachedLayer::of_three(gpu, &caches, parameters, &layer.attention)?,
                attention_norm: layer.attention_residual.tensors(parameters)?,
                source: SourceLayer::new(gpu, &source, parameters, &layer.source_attention)?,
                source_norm: layer.source_residual.tensors(parameters)?,
                feed_forward: layer.feed_forward.tensors(parameters)?,
                feed_forward_norm: layer.feed_forward_residual.tensors(parameters)?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            table: network.target.weight.tensor(parameters)?,
            positions: network.decoder.positions.tensors(gpu, parameters, [search.capacity, config.hidden])?,
            embedding_norm: norm(&network.decoder.embedding_norm)?,
            norm: norm(&network.decoder.norm)?,
            output: network.output.tensors(parameters)?,
            caches,
            source,
            rows: StepRows::new(gpu, rows, config.hidden)?,
            words: tensor("words", config.hidden)?,
            between: [tensor("between", config.decoder_feed_forward)?, tensor("between", config.decoder_feed_forward)?],
            states: gpu.zeros("states", [2, rows, 1], Dtype::F32)?,
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
        let mut kept = Vec::new();
        for (layer, step) in self.network.decoder.layers.iter().zip(&self.layers) {
            let attention = &layer.source_attention;
            for (projection, tensor) in [(&attention.key, &step.source.key), (&attention.value, &step.source.value)] {
                kept.push((projection.forward(&mut layers, source.states, Activation::None)?, tensor.clone()));
            }
        }
        let state = layers.graph.filled([shape.rows, 1], 0.0);
        Ok(Encoder { graph: layers.graph, lengths: source.lengths, state, kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.attention.record_start(recorder))
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        let config = &self.network.config;
        let mut flow = self.rows.start();
        let place = (config.factor(), outputs.counter, step);
        self.positions.record(recorder, &self.words, place, flow.now())?;
        if let Some(norm) = &self.embedding_norm {
            flow.norm(recorder, norm)?;
        }
        for layer in &self.layers {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                layer.attention.record_onto(recorder, &self.caches, (step, outputs.counter), [x, y])
            })?;
            flow.around(recorder, &layer.source_norm, |recorder, x, y| {
                layer.source.record_onto(recorder, &self.source, outputs.lengths, [x, y])
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        if let (Some(weights), Some(layer)) = (outputs.weights, self.layers.last()) {
            layer.source.record_weights(recorder, &self.source, outputs.lengths, weights)?;
        }
        if let Some(norm) = &self.norm {
            flow.norm(recorder, norm)?;
        }
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.hidden,
            words: &self.table,
            word_rows: Matrix::rows(&self.words),
            gates: None,
            hidden: 1,
            states: &self.states,
        }
    }

    fn states_after(&self, _: usize) -> usize {
        self.search.rows()
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
