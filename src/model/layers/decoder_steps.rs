//! The layers of a decoder in the steps of a search. Keys and values of the source are made once, by the encoder's graph; those of
//! the text so far stay in caches.

use super::{
    CachedLayer, DecoderLayer, FeedForwardRows, FeedForwardTensors, Flow, HeadSizes, LayerNormTensors, Layers,
    NormOrder, SourceLayer, SourceRows, StepCaches, StepRows,
};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    graph::{Parameters, Value},
    kernels::{beam_search::BeamState, cached_attention::Bias, matmul::Activation},
    model::{SearchRoom, StepOutputs},
};

/// Sizes that all layers of a decoder have.
#[derive(Clone, Copy, Debug)]
pub struct DecoderSizes {
    /// Of every attention.
    pub heads: HeadSizes,
    /// Of every position's state, D.
    pub hidden: usize,
    /// Between the two layers of the feed-forward parts.
    pub between: usize,
    /// Whether these have a gate.
    pub gated: bool,
}

/// The layers of a decoder and their memory; R rows.
#[derive(Debug)]
pub struct DecoderSteps {
    layers: Vec<StepLayer>,
    caches: StepCaches,
    source: SourceRows,
    /// The rows on their way through the layers.
    pub rows: StepRows,
    between: FeedForwardRows,
    /// Of self-attention, `[N, 2 capacity - 1]`.
    bias: Option<Tensor>,
}

/// One layer.
#[derive(Debug)]
struct StepLayer {
    attention: CachedLayer,
    attention_norm: (LayerNormTensors, NormOrder),
    source: SourceLayer,
    source_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl DecoderSteps {
    /// Memory for the steps of a search; `bias`, if there is any, is that of self-attention, `[N, 2 capacity - 1]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layers' names and shapes; [`crate::Error::OutOfMemory`].
    pub fn new(
        room: &SearchRoom<'_>,
        parameters: &Parameters,
        decoder: &[DecoderLayer],
        sizes: DecoderSizes,
        bias: Option<&Tensor>,
    ) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let DecoderSizes { heads, hidden, between, gated } = sizes;
        let caches = StepCaches::new(room, heads, None)?;
        let source = SourceRows::new(room, heads)?;
        let layers = decoder.iter().map(|layer| {
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
            caches,
            source,
            rows: StepRows::new(gpu, search.rows(), hidden)?,
            between: FeedForwardRows::new(gpu, search.rows(), between, gated)?,
            bias: bias.cloned(),
        })
    }

    /// Keys and values of the encoder's states `[B, S, D]`, each with the tensor that the steps read it from.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn kept(&self, layers: &mut Layers, decoder: &[DecoderLayer], states: Value) -> Result<Vec<(Value, Tensor)>> {
        let mut kept = Vec::new();
        for (layer, step) in decoder.iter().zip(&self.layers) {
            let attention = &layer.source_attention;
            for (projection, tensor) in [(&attention.key, &step.source.key), (&attention.value, &step.source.value)] {
                kept.push((projection.forward(layers, states, Activation::None)?, tensor.clone()));
            }
        }
        Ok(kept)
    }

    /// Records the work that all steps share.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.attention.record_start(recorder))
    }

    /// Records the `step`-th step's way through the layers, and the source's weights where they are asked for.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<()> {
        for layer in &self.layers {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                let bias = self.bias.as_ref().map(Bias::OfHeads);
                layer.attention.record_onto(recorder, &self.caches, (step, outputs.counter), bias, [x, y])
            })?;
            flow.around(recorder, &layer.source_norm, |recorder, x, y| {
                layer.source.record_onto(recorder, &self.source, outputs.lengths, [x, y])
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        match (outputs.weights, self.layers.last()) {
            (Some(weights), Some(layer)) => {
                self.source.record_weights(recorder, &layer.source.key, outputs.lengths, weights)
            }
            _ => Ok(()),
        }
    }

    /// Records where the rows stand, after tokens and parents have been chosen in a step, or before the first one.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
