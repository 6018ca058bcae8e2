//! The model's steps in a search. Keys and values of the text so far stay in caches behind the zeros that are before a text, and a step
//! sees as many of them as the longest span.

use super::{AdaptiveSpan, Layer};
use crate::{
    Error, Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        cached_attention::{Bias, Segments},
        matmul::{Activation, Matrix},
        span_attention::SpanAttention,
    },
    model::{
        CachedLayer, Encoder, FeedForwardRows, FeedForwardTensors, HeadSizes, LayerNormTensors, Layers, LinearTensors,
        NormOrder, SearchRoom, StepCaches, StepOutputs, StepRows, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct AdaptiveSpanStepper {
    search: BeamSearch,
    attention: SpanAttention,
    table: Tensor,
    positions: Tensor,
    layers: Vec<StepLayer>,
    output: LinearTensors,
    caches: StepCaches,
    rows: StepRows,
    between: FeedForwardRows,
    /// Of a layer's scores by distance, `[R, N, capacity]`.
    bias: Tensor,
}

/// One layer.
#[derive(Debug)]
struct StepLayer {
    spans: Tensor,
    attention: CachedLayer,
    attention_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl StepLayer {
    fn new(gpu: &Gpu, parameters: &Parameters, caches: &StepCaches, layer: &Layer) -> Result<Self> {
        Ok(Self {
            spans: layer.spans.tensor(parameters)?,
            attention: CachedLayer::of_three(gpu, caches, parameters, &layer.attention)?,
            attention_norm: layer.attention_residual.tensors(parameters)?,
            feed_forward: layer.feed_forward.tensors(parameters)?,
            feed_forward_norm: layer.feed_forward_residual.tensors(parameters)?,
        })
    }
}

impl AdaptiveSpanStepper {
    pub fn new(network: &AdaptiveSpan, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (config, rows, limit) = (&network.config, search.rows(), network.config.span_limit);
        let heads = HeadSizes::sharing(config.hidden, config.heads);
        // A step sees a position more, its own, whose weight is 0.
        let segments = Segments { steps: 1, memory: limit };
        let caches = StepCaches::behind_zeros(room, heads, Some(segments), limit)?;
        let layers = network.layers.iter().map(|layer| StepLayer::new(gpu, parameters, &caches, layer));
        Ok(Self {
            attention: SpanAttention {
                batch: rows,
                heads: heads.count,
                queries: 1,
                keys: 1,
                size: heads.size,
                limit,
                ramp: config.ramp as f32,
                scale: heads.scale,
            },
            table: network.words.weight.tensor(parameters)?,
            positions: network.positions.tensor(parameters)?,
            layers: layers.collect::<Result<_>>()?,
            output: network.output.tensors(parameters)?,
            rows: StepRows::new(gpu, rows, config.hidden)?,
            between: FeedForwardRows::new(gpu, rows, config.feed_forward, false)?,
            bias: gpu.zeros("bias", [rows, heads.count, caches.capacity()], Dtype::F32)?,
            caches,
            search,
        })
    }
}

impl Stepper for AdaptiveSpanStepper {
    /// There is nothing to read: every text begins alike.
    fn encoder(&self) -> Result<Encoder> {
        let mut graph = Layers::new().graph;
        let lengths = graph.counts([self.search.sentences], 1);
        Ok(Encoder { graph, lengths, state: None, kept: Vec::new() })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.attention.record_start(recorder))
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        if outputs.weights.is_some() {
            return Err(Error::data("an alignment", "needs a source to attend to, and this architecture has none"));
        }
        let Self { attention, positions, caches, bias, .. } = self;
        let mut flow = self.rows.start();
        for layer in &self.layers {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                let query = layer.attention.record_projection(recorder, caches, x)?;
                attention.record_bias(recorder, query, [positions, &layer.spans], bias)?;
                let at = (step, outputs.counter);
                layer.attention.record_projected(recorder, caches, at, Some(Bias::OfRows(bias)), y)
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        let rows = self.rows.start().now();
        Feed { word: rows.shape().last(), words: &self.table, word_rows: Matrix::rows(rows), gates: None, states: None }
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
