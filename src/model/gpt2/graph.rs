//! The model's graph.

use super::{Gpt2, Layer};
use crate::{
    Result,
    graph::{MultiHeadAttention, Value},
    kernels::matmul::Activation,
    model::{BatchShape, Forward, Layers},
};

impl Layer {
    /// `x` `[B, T, D]`; `lengths` `[B]`.
    fn forward(&self, layers: &mut Layers, model: &Gpt2, x: Value, lengths: Value) -> Result<Value> {
        let config = &model.config;
        let x = self.attention_residual.around(layers, x, config.dropout, |layers, x| {
            let projected = self.projection.forward(layers, x, Activation::None)?;
            let attention = MultiHeadAttention::within(projected, lengths, config.heads);
            let dropout = layers.rate(config.attention_dropout);
            let attention = MultiHeadAttention { causal: true, dropout, ..attention };
            let attended = layers.graph.multi_head_attention(&attention)?;
            self.output.forward(layers, attended.context, Activation::None)
        })?;
        self.feed_forward_residual
            .around(layers, x, config.dropout, |layers, x| self.feed_forward.forward(layers, x, 0.0))
    }
}

impl Gpt2 {
    /// Inputs are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let [tokens, targets] = layers.targets(shape);
        // The causal mask hides what follows a text's end, so that every position counts as valid.
        let lengths = layers.graph.counts([shape.rows], shape.target as u32);
        let table = layers.parameter(&self.words.weight);
        let words = layers.graph.embedding(table, tokens)?;
        let words = layers.drop_words(words, 0.0)?;
        let placed = self.positions.forward(layers, words, 1.0)?;
        let mut x = layers.drop(placed, self.config.dropout)?;
        for layer in &self.layers {
            x = layer.forward(layers, self, x, lengths)?;
        }
        let x = self.norm.forward(layers, x)?;
        Ok(Forward { logits: self.output.forward(layers, x, Activation::None)?, targets, attention: None })
    }
}
