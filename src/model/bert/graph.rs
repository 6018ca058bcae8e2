//! The model's graph.

use super::{Bert, Layer, Prediction};
use crate::{
    Error, Result,
    batch::MOST_GLOBALS,
    gpu::Dtype,
    graph::Value,
    kernels::matmul::Activation,
    model::{Architecture as _, BatchShape, Forward, LayerDropout, Layers, Memory, Places},
};

impl Layer {
    /// `x` `[B, S, D]`, of texts that have such lengths and, within windows, such global positions.
    fn forward(
        &self,
        layers: &mut Layers,
        x: Value,
        (lengths, globals): (Value, Option<Value>),
        dropout: LayerDropout,
    ) -> Result<Value> {
        let Self { block, window } = self;
        match (window, globals) {
            (Some(window), Some(globals)) => block.attending(layers, x, dropout, |layers, x| {
                let memory = Memory { states: x, lengths };
                window.forward(layers, &block.attention, memory, globals, dropout.weights)
            }),
            _ => block.forward(layers, x, Places { lengths, bias: None }, dropout),
        }
    }
}

impl Bert {
    /// The states of every position, `[B, S, D]`. Inputs are `source` and `segments` `[B, S]` and `lengths` `[B]`, and `globals` `[B, G]`
    /// where attention has a window.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Value> {
        let (BatchShape { rows, source: steps, .. }, config) = (shape, &self.config);
        let tokens = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let segments = match config.segments {
            1 => layers.graph.counts([rows, steps], 0),
            _ => layers.graph.input("segments", [rows, steps], Dtype::U32),
        };
        let [words, kinds] = [&self.words, &self.segments].map(|table| layers.parameter(&table.weight));
        let words = layers.graph.embedding_with_padding(words, tokens, config.specials.pad)?;
        let words = layers.drop_words(words, 0.0)?;
        let kinds = layers.graph.embedding(kinds, segments)?;
        let x = layers.graph.add(words, kinds)?;
        let x = self.positions.forward(layers, x, 1.0)?;
        let x = self.norm.forward(layers, x)?;
        let mut x = layers.drop(x, config.dropout)?;
        let dropout = LayerDropout { results: config.dropout, weights: config.attention_dropout, between: 0.0 };
        let globals = match config.is_longformer() {
            true => Some(layers.graph.input("globals", [rows, MOST_GLOBALS], Dtype::U32)),
            false => None,
        };
        for layer in &self.layers {
            x = layer.forward(layers, x, (lengths, globals), dropout)?;
        }
        Ok(x)
    }

    /// Inputs beside the encoder's are `target_out`: tokens `[B, S]`, classes `[B, 1]`, or the first and the last position of each
    /// answer `[B, 2]`.
    pub(super) fn predict(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let (BatchShape { rows, source: steps, .. }, config) = (shape, &self.config);
        let x = self.encode(layers, shape)?;
        let logits = match &self.prediction {
            Prediction::Nothing => {
                return Err(Error::data(self.name(), "predicts nothing with this head: its states are what is wanted"));
            }
            Prediction::Masked { dense, norm, output } => {
                let x = dense.forward(layers, x, Activation::None)?;
                let x = config.activation.forward(layers, x)?;
                let x = norm.forward(layers, x)?;
                output.forward(layers, x, Activation::None)?
            }
            Prediction::Classify { dense, output } => {
                let first = layers.graph.slice(x, 1, 0..1)?;
                let first = if config.follows_roberta() { layers.drop(first, config.dropout)? } else { first };
                let pooled = dense.forward(layers, first, Activation::Tanh)?;
                let pooled = layers.drop(pooled, config.dropout)?;
                output.forward(layers, pooled, Activation::None)?
            }
            Prediction::Span(output) => {
                let ends = output.forward(layers, x, Activation::None)?;
                layers.graph.permute(ends, &[0, 2, 1])?
            }
        };
        let target = match &self.prediction {
            Prediction::Nothing | Prediction::Masked { .. } => steps,
            Prediction::Classify { .. } => 1,
            Prediction::Span(_) => 2,
        };
        let targets = layers.graph.input("target_out", [rows, target], Dtype::U32);
        Ok(Forward { logits, targets, attention: None })
    }
}
