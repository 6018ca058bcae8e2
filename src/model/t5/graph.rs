//! The model's graph.

use super::{Stack, T5};
use crate::{
    Result,
    gpu::Dtype,
    graph::Value,
    kernels::matmul::Activation,
    model::{BatchShape, Embedding, Forward, LayerDropout, Layers, Memory, Places, decode},
};

impl<L> Stack<L> {
    /// The top layer's result, normalised.
    fn finish(&self, layers: &mut Layers, x: Value, dropout: f32) -> Result<Value> {
        let x = self.norm.forward(layers, x)?;
        layers.drop(x, dropout)
    }
}

impl T5 {
    fn dropout(&self) -> LayerDropout {
        let rate = self.config.dropout;
        LayerDropout { results: rate, weights: rate, between: rate }
    }

    /// Embedded words `[B, T, D]` of tokens `[B, T]`. What pads a text begins one, too, so that its row is trained.
    fn embed(&self, layers: &mut Layers, table: &Embedding, tokens: Value) -> Result<Value> {
        let table = layers.parameter(&table.weight);
        let words = layers.graph.embedding(table, tokens)?;
        layers.drop_words(words, self.config.dropout)
    }

    /// The encoder's states. Reads the inputs `source` `[B, S]` and `lengths` `[B]`.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Memory> {
        let BatchShape { rows, source: steps, .. } = shape;
        let source = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let bias = Some(self.encoder.bias.forward(layers, steps)?);
        let mut x = self.embed(layers, &self.words.source, source)?;
        for layer in &self.encoder.layers {
            x = layer.forward(layers, x, Places { lengths, bias }, self.dropout())?;
        }
        Ok(Memory { states: self.encoder.finish(layers, x, self.config.dropout)?, lengths })
    }

    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let source = self.encode(layers, shape)?;
        let [tokens, targets] = layers.targets(shape);
        let bias = Some(self.decoder.bias.forward(layers, shape.target)?);
        // The causal mask hides what follows a text's end, so that every position counts as valid.
        let lengths = layers.graph.counts([shape.rows], shape.target as u32);
        let x = self.embed(layers, &self.words.target, tokens)?;
        let (x, attention) = decode(&self.decoder.layers, layers, x, Places { lengths, bias }, source, self.dropout())?;
        let mut x = self.decoder.finish(layers, x, self.config.dropout)?;
        if let Some(factor) = self.output_factor() {
            x = layers.graph.scale(x, factor)?;
        }
        Ok(Forward { logits: self.words.output.forward(layers, x, Activation::None)?, targets, attention })
    }

    /// What states are multiplied with for the output layer.
    pub(super) fn output_factor(&self) -> Option<f32> {
        self.config.scale_output.then(|| (self.config.hidden as f32).sqrt().recip())
    }
}
