//! The model's graph.

use super::{Stack, Transformer};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Epilogue, Value},
    kernels::matmul::Activation,
    model::{BatchShape, Embedding, Forward, LayerDropout, Layers, Memory, Places, decode},
};

impl<L> Stack<L> {
    /// Embedded words `[B, T, D]` of tokens `[B, T]`, with their positions.
    fn embed(&self, layers: &mut Layers, model: &Transformer, table: &Embedding, tokens: Value) -> Result<Value> {
        let config = &model.config;
        let table = layers.parameter(&table.weight);
        let words = layers.graph.embedding_with_padding(table, tokens, config.specials.pad)?;
        let words = layers.drop_words(words, 0.0)?;
        let mut x = self.positions.forward(layers, words, config.factor())?;
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(layers, x)?;
        }
        layers.drop(x, config.dropout)
    }

    /// The top layer's result, normalised once more where the layers begin with that.
    fn finish(&self, layers: &mut Layers, x: Value) -> Result<Value> {
        self.norm.as_ref().map_or(Ok(x), |norm| norm.forward(layers, x))
    }
}

impl Transformer {
    fn dropout(&self) -> LayerDropout {
        let config = &self.config;
        LayerDropout { results: config.dropout, weights: config.attention_dropout, between: config.activation_dropout }
    }

    /// The encoder's states. Reads the inputs `source` `[B, S]` and `lengths` `[B]`.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Memory> {
        let BatchShape { rows, source: steps, .. } = shape;
        let source = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let mut x = self.encoder.embed(layers, self, &self.words.source, source)?;
        for layer in &self.encoder.layers {
            x = layer.forward(layers, x, Places { lengths, bias: None }, self.dropout())?;
        }
        Ok(Memory { states: self.encoder.finish(layers, x)?, lengths })
    }

    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let source = self.encode(layers, shape)?;
        let [tokens, targets] = layers.targets(shape);
        // The causal mask hides what follows a text's end, so that every position counts as valid.
        let places = Places { lengths: layers.graph.counts([shape.rows], shape.target as u32), bias: None };
        let x = self.decoder.embed(layers, self, &self.words.target, tokens)?;
        let (x, attention) = decode(&self.decoder.layers, layers, x, places, source, self.dropout())?;
        let x = self.decoder.finish(layers, x)?;
        Ok(Forward { logits: self.logits(layers, x)?, targets, attention })
    }

    fn logits(&self, layers: &mut Layers, x: Value) -> Result<Value> {
        let output = &self.words.output;
        let weight = layers.parameter(&output.weight);
        let mut bias = output.bias.as_ref().map(|bias| layers.parameter(bias));
        if let Some(row) = bias {
            bias = Some(layers.graph.reshape(row, [self.config.target_vocabulary])?);
        }
        layers.graph.linear(x, weight, Epilogue { bias, activation: Activation::None })
    }
}
