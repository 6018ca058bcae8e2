//! The model's graphs.

use super::{DecoderLayer, EncoderLayer, Stack, Transformer};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Epilogue, Value},
    kernels::matmul::Activation,
    model::{Attended, BatchShape, Embedding, Forward, Layers, Memory},
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

impl EncoderLayer {
    fn forward(&self, layers: &mut Layers, model: &Transformer, x: Value, lengths: Value) -> Result<Value> {
        let config = &model.config;
        let x = self.attention_residual.around(layers, x, config.dropout, |layers, x| {
            self.attention.forward(layers, x, Memory { states: x, lengths }, false, config.attention_dropout)
        })?;
        self.feed_forward_residual.around(layers, x, config.dropout, |layers, x| {
            self.feed_forward.forward(layers, x, config.activation_dropout)
        })
    }
}

impl DecoderLayer {
    /// `x` `[B, T, D]`; `lengths` `[B]` of the targets. The layer's result, and its attention to the source.
    fn forward(
        &self,
        layers: &mut Layers,
        model: &Transformer,
        x: Value,
        lengths: Value,
        source: Memory,
    ) -> Result<(Value, Option<Attended>)> {
        let config = &model.config;
        let x = self.attention_residual.around(layers, x, config.dropout, |layers, x| {
            self.attention.forward(layers, x, Memory { states: x, lengths }, true, config.attention_dropout)
        })?;
        let mut attended = None;
        let x = self.source_residual.around(layers, x, config.dropout, |layers, x| {
            let made = self.source_attention.attend(layers, x, source, false, config.attention_dropout)?;
            attended = Some(made);
            Ok(made.result)
        })?;
        let x = self.feed_forward_residual.around(layers, x, config.dropout, |layers, x| {
            self.feed_forward.forward(layers, x, config.activation_dropout)
        })?;
        Ok((x, attended))
    }
}

impl Transformer {
    /// The encoder's states. Reads the inputs `source` `[B, S]` and `lengths` `[B]`.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Memory> {
        let BatchShape { rows, source: steps, .. } = shape;
        let source = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let mut x = self.encoder.embed(layers, self, &self.source, source)?;
        for layer in &self.encoder.layers {
            x = layer.forward(layers, self, x, lengths)?;
        }
        Ok(Memory { states: self.encoder.finish(layers, x)?, lengths })
    }

    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let source = self.encode(layers, shape)?;
        let tokens = layers.graph.input("target_in", [shape.rows, shape.target], Dtype::U32);
        let targets = layers.graph.input("target_out", [shape.rows, shape.target], Dtype::U32);
        // The causal mask hides what follows a text's end, so that every position counts as valid.
        let lengths = layers.graph.counts([shape.rows], shape.target as u32);
        let mut x = self.decoder.embed(layers, self, &self.target, tokens)?;
        let mut attention = None;
        for (number, layer) in (1..).zip(&self.decoder.layers) {
            let (result, attended) = layer.forward(layers, self, x, lengths, source)?;
            x = result;
            // The top layer's weights are for looking at: no loss has a gradient through them.
            if let Some(attended) = attended.filter(|_| number == self.config.decoder_layers && !layers.is_training()) {
                attention = Some(layer.source_attention.weights(layers, &attended, source)?);
            }
        }
        let x = self.decoder.finish(layers, x)?;
        Ok(Forward { logits: self.logits(layers, x)?, targets, attention })
    }

    fn logits(&self, layers: &mut Layers, x: Value) -> Result<Value> {
        let weight = layers.parameter(&self.output.weight);
        let mut bias = self.output.bias.as_ref().map(|bias| layers.parameter(bias));
        if let Some(row) = bias {
            bias = Some(layers.graph.reshape(row, [self.config.target_vocabulary])?);
        }
        layers.graph.linear(x, weight, Epilogue { bias, activation: Activation::None })
    }
}
