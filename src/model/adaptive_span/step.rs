//! The model's steps in a search: caches begin with the zeros that are before a text, and a step sees as much of them as the longest
//! span.

use super::AdaptiveSpan;
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamState, Feed},
        cached_attention::{Bias, Segments},
        matmul::Matrix,
        span_attention::SpanAttention,
    },
    model::{CachedLayer, CausalLayer, CausalSteps, Encoder, HeadSizes, SearchRoom, StepCaches, StepOutputs, Stepper},
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct AdaptiveSpanStepper {
    steps: CausalSteps,
    attention: SpanAttention,
    /// Vectors of distances, `[L, D / N]`.
    positions: Tensor,
    /// Of each layer, `[N]`.
    spans: Vec<Tensor>,
    /// Of a layer's scores by distance, `[R, N, capacity]`.
    bias: Tensor,
}

impl AdaptiveSpanStepper {
    pub fn new(network: &AdaptiveSpan, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (config, limit) = (&network.config, network.config.span_limit);
        let heads = HeadSizes::sharing(config.hidden, config.heads);
        // A step sees a position more, its own, whose weight is 0.
        let segments = Segments { steps: 1, memory: limit };
        let caches = StepCaches::behind_zeros(room, heads, Some(segments), limit)?;
        let bias = gpu.zeros("bias", [search.rows(), heads.count, caches.capacity()], Dtype::F32)?;
        let layers = network.layers.iter().map(|layer| {
            let attention = CachedLayer::of_three(gpu, &caches, parameters, &layer.attention)?;
            let around = [&layer.attention_residual, &layer.feed_forward_residual];
            CausalLayer::new(parameters, attention, &layer.feed_forward, around)
        });
        let layers = layers.collect::<Result<_>>()?;
        let vocabulary = (&network.words, &network.output);
        Ok(Self {
            steps: CausalSteps::new(room, parameters, vocabulary, caches, layers, config.feed_forward)?,
            attention: SpanAttention {
                batch: search.rows(),
                heads: heads.count,
                queries: 1,
                keys: 1,
                size: heads.size,
                limit,
                ramp: config.ramp as f32,
                scale: heads.scale,
            },
            positions: network.positions.tensor(parameters)?,
            spans: network.layers.iter().map(|layer| layer.spans.tensor(parameters)).collect::<Result<_>>()?,
            bias,
        })
    }
}

impl Stepper for AdaptiveSpanStepper {
    fn encoder(&self) -> Result<Encoder> {
        Ok(self.steps.encoder())
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.steps.record_start(recorder)
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let Self { steps, attention, positions, spans, bias } = self;
        let mut flow = steps.rows.start();
        steps.record(recorder, outputs, &mut flow, |recorder, (number, layer), [x, y]| {
            let query = layer.record_projection(recorder, &steps.caches, x)?;
            if let Some(spans) = spans.get(number) {
                attention.record_bias(recorder, query, [positions, spans], bias)?;
            }
            let at = (step, outputs.counter);
            layer.record_projected(recorder, &steps.caches, at, Some(Bias::OfRows(bias)), y)
        })?;
        steps.record_logits(recorder, &flow, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        self.steps.feed(self.steps.rows.start().now())
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.steps.record_fed(recorder, state, step)
    }
}
