//! The model's graph: a text segment by segment, each of which sees as much before it as the longest span, but passes no gradient there.

use super::{AdaptiveSpan, Layer};
use crate::{
    Result,
    graph::{SpanQueries, Value},
    kernels::matmul::Activation,
    model::{BatchShape, Forward, Layers, MultiHeadAttention, Segment, in_segments, joined, remembered},
};

/// What tells the weights of a layer's attention.
#[derive(Clone, Copy, Debug)]
pub struct Weighed {
    /// The queries, `[B, T, D]`, and how they are compared.
    pub queries: SpanQueries,
    /// `[B, S, D]`
    pub key: Value,
    /// The vectors of distances, `[L, D / N]`.
    pub position: Value,
}

impl Layer {
    /// `x` `[B, T, D]`, whose rows are the last of `seen` `[B, S, D]`; and what has weighed these.
    fn forward(&self, layers: &mut Layers, model: &AdaptiveSpan, x: Value, seen: Value) -> Result<(Value, Weighed)> {
        let config = &model.config;
        let MultiHeadAttention { query, key, value, output, heads } = &self.attention;
        let query = query.forward(layers, x, Activation::None)?;
        let key = key.forward(layers, seen, Activation::None)?;
        let value = value.forward(layers, seen, Activation::None)?;
        let [position, spans] = [&model.positions, &self.spans].map(|one| layers.parameter(one));
        let queries = SpanQueries { query, spans, ramp: config.ramp as f32, scale: heads.scale };
        let context = layers.graph.span_attention(queries, [key, value], position)?;
        let x = self
            .attention_residual
            .around(layers, x, config.dropout, |layers, _| output.forward(layers, context, Activation::None))?;
        let x = self
            .feed_forward_residual
            .around(layers, x, config.dropout, |layers, x| self.feed_forward.forward(layers, x, config.dropout))?;
        Ok((x, Weighed { queries, key, position }))
    }
}

impl AdaptiveSpan {
    /// Embedded words `[B, T, D]` of tokens `[B, T]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn embed(&self, layers: &mut Layers, tokens: Value) -> Result<Value> {
        let table = layers.parameter(&self.words.weight);
        let words = layers.graph.embedding(table, tokens)?;
        layers.drop_words(words, self.config.dropout)
    }

    /// Embedded words `[B, T, D]` through the layers. `memory` is what each layer remembers, `[B, M, D]`; nothing before the first
    /// segment, which is as if there were zeros.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn segment(&self, layers: &mut Layers, words: Value, memory: &[Value]) -> Result<Segment> {
        Ok(self.weighed(layers, words, memory)?.0)
    }

    /// The same, and for each layer what tells its weights.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn weighed(&self, layers: &mut Layers, words: Value, memory: &[Value]) -> Result<(Segment, Vec<Weighed>)> {
        let (mut x, mut next, mut all) = (words, Vec::new(), Vec::new());
        for (number, layer) in self.layers.iter().enumerate() {
            let seen = match memory.get(number) {
                Some(before) => joined(layers, *before, x)?,
                None => x,
            };
            next.push(remembered(layers, seen, self.config.span_limit)?);
            let (made, weighed) = layer.forward(layers, self, x, seen)?;
            x = made;
            all.push(weighed);
        }
        Ok((Segment { states: x, memory: next }, all))
    }

    /// The logits `[B, T, W]` of states `[B, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn logits(&self, layers: &mut Layers, states: Value) -> Result<Value> {
        self.output.forward(layers, states, Activation::None)
    }

    /// Inputs are `target_in` and `target_out` `[B, T]`; the text has as many segments as it takes.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let [tokens, targets] = layers.targets(shape);
        let words = self.embed(layers, tokens)?;
        let segment = |layers: &mut Layers, part, memory: &[Value]| self.segment(layers, part, memory);
        let states = in_segments(layers, words, self.config.segment, segment)?;
        Ok(Forward { logits: self.logits(layers, states)?, targets, attention: None })
    }

    /// The penalty on the sum over layers of the heads' mean span (equation 6), `[1]`.
    pub(super) fn penalty_of_spans(&self, layers: &mut Layers) -> Result<Option<Value>> {
        let config = &self.config;
        if config.span_penalty == 0.0 {
            return Ok(None);
        }
        let spans: Vec<_> = self.layers.iter().map(|layer| layers.parameter(&layer.spans)).collect();
        let all = layers.graph.concatenate(&spans)?;
        let sum = layers.graph.sum(all)?;
        layers.graph.scale(sum, config.span_penalty / config.heads as f32).map(Some)
    }
}
