//! The model's graph: a text segment by segment, each of which sees the states of those before it, but passes no gradient to them.

use super::{Attention, TransformerXl};
use crate::{
    Result,
    graph::{Epilogue, RelativeQueries, Value},
    kernels::{
        matmul::Activation,
        positions::{Order, sinusoids},
    },
    model::{BatchShape, Forward, HeadSizes, Layers, Segment, in_segments, joined, remembered},
};

impl Attention {
    /// Contexts for `x` `[B, T, D]`, whose rows are the last of `seen` `[B, S, D]`; `positions` `[S, D]` by distance.
    fn forward(&self, layers: &mut Layers, x: Value, seen: Value, positions: Value) -> Result<Value> {
        let HeadSizes { count, scale, .. } = self.heads;
        let width = self.heads.width();
        let projection = layers.parameter(&self.projection.weight);
        let of_query = layers.graph.slice(projection, 0, 0..width)?;
        let of_rows = layers.graph.slice(projection, 0, width..3 * width)?;
        let mut queries = Vec::new();
        for bias in [&self.content_bias, &self.position_bias] {
            let bias = layers.parameter(bias);
            let bias = Some(layers.graph.reshape(bias, [width])?);
            queries.push(layers.graph.linear(x, of_query, Epilogue { bias, activation: Activation::None })?);
        }
        let queries = layers.graph.concatenate(&queries)?;
        let rows = layers.graph.linear(seen, of_rows, Epilogue::default())?;
        let [key, value] = layers.graph.split_at(rows, width)?;
        let relative = self.relative.forward(layers, positions, Activation::None)?;
        let lengths = match *layers.graph.dims(seen) {
            [batch, steps, _] => layers.graph.counts([batch], steps as u32),
            // Of another shape: the operation says so.
            _ => seen,
        };
        let asked = RelativeQueries { queries, heads: count, scale };
        let context = layers.graph.relative_attention(asked, [key, value], relative, lengths)?;
        self.output.forward(layers, context, Activation::None)
    }
}

impl TransformerXl {
    /// Embedded words `[B, T, D]` of tokens `[B, T]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn embed(&self, layers: &mut Layers, tokens: Value) -> Result<Value> {
        let table = layers.parameter(&self.words.weight);
        let words = layers.graph.embedding(table, tokens)?;
        let words = layers.graph.scale(words, (self.config.hidden as f32).sqrt())?;
        layers.drop_words(words, self.config.dropout)
    }

    /// Embedded words `[B, T, D]` through the layers. `memory` is what each layer remembers, `[B, M, D]`; nothing before the first
    /// segment.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn segment(&self, layers: &mut Layers, words: Value, memory: &[Value]) -> Result<Segment> {
        let (config, mut x) = (&self.config, words);
        let mut positions = None;
        let mut next = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let seen = match memory.get(number) {
                Some(before) => joined(layers, *before, x)?,
                None => x,
            };
            let steps = layers.graph.dims(seen).get(1).copied().unwrap_or(0);
            let vectors = match positions {
                Some(vectors) => vectors,
                None => self.vectors(layers, steps)?,
            };
            positions = Some(vectors);
            if config.memory > 0 {
                next.push(remembered(layers, seen, config.memory)?);
            }
            x = layer
                .attention_residual
                .around(layers, x, config.dropout, |layers, x| layer.attention.forward(layers, x, seen, vectors))?;
            x = layer
                .feed_forward_residual
                .around(layers, x, config.dropout, |layers, x| layer.feed_forward.forward(layers, x, config.dropout))?;
        }
        Ok(Segment { states: layers.drop(x, config.dropout)?, memory: next })
    }

    /// The vectors of distances `[S, D]`, from 0 on.
    fn vectors(&self, layers: &mut Layers, steps: usize) -> Result<Value> {
        let vectors = layers.graph.constant_activations([steps, self.config.hidden], self.sinusoids(steps))?;
        layers.drop_shared(vectors, self.config.dropout)
    }

    /// Sines, then cosines of each distance, those past the farthest being its own.
    pub(super) fn sinusoids(&self, steps: usize) -> Vec<f32> {
        let (size, farthest) = (self.config.hidden, self.config.farthest_position);
        let mut rows = sinusoids(steps, size, Order::SinesFirst);
        if farthest > 0 && farthest < steps {
            let last: Vec<f32> = rows.iter().skip(farthest * size).take(size).copied().collect();
            rows.truncate(farthest * size);
            rows.extend(last.iter().copied().cycle().take((steps - farthest) * size));
        }
        rows
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
        let logits = self.logits(layers, states)?;
        Ok(Forward { logits, targets, attention: None })
    }
}
