//! The model's graph.

use super::{Attention, ConvS2S, Convolution, HALF, Side};
use crate::{
    Result,
    gpu::Dtype,
    graph::{MultiHeadAttention, Value},
    kernels::{conv1d::Padding, matmul::Activation},
    model::{BatchShape, Layers},
};

/// The outputs of a forward pass.
#[derive(Clone, Debug)]
pub struct TeacherForced {
    /// `[B, T, W]`
    pub logits: Value,
    /// `[B, T]`, the input of the tokens that the logits should predict.
    pub targets: Value,
    /// The weights `[B, T, S]` of each layer's attention, but in training.
    pub weights: Vec<Value>,
}

/// What attention reads of the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// z, `[B, S, E]`: what queries are compared with.
    pub key: Value,
    /// z and the embedded words, `[B, S, E]`, times the roots of a half and of the length.
    pub value: Value,
    /// `[B]`
    pub lengths: Value,
}

impl Side {
    /// Embedded words `[B, T, E]` of tokens `[B, T]`, with their positions.
    fn embed(&self, layers: &mut Layers, tokens: Value, dropout: f32) -> Result<Value> {
        let table = layers.parameter(&self.word.weight);
        let words = layers.graph.embedding(table, tokens)?;
        let words = layers.drop_words(words, 0.0)?;
        let placed = self.position.forward(layers, words, 1.0)?;
        layers.drop(placed, dropout)
    }
}

impl Convolution {
    /// `x` `[B, T, H]` through the convolution and its gate.
    fn forward(&self, layers: &mut Layers, x: Value, padding: Padding, dropout: f32) -> Result<Value> {
        let x = layers.drop(x, dropout)?;
        let (weight, bias) = (layers.parameter(&self.weight), layers.parameter(&self.bias));
        let wide = layers.graph.conv1d(x, weight, Some(bias), padding)?;
        layers.graph.glu(wide)
    }
}

impl Attention {
    /// The layer's `u` `[B, T, H]` with its context, for embedded words `g` `[B, T, E]`; and the weights, but in training.
    fn forward(&self, layers: &mut Layers, u: Value, g: Value, source: Source) -> Result<(Value, Option<Value>)> {
        let query = self.query.forward(layers, u, Activation::None)?;
        let query = halved_sum(layers, query, g)?;
        let Source { key, value, lengths } = source;
        let attention = MultiHeadAttention::new(query, key, value, lengths, 1);
        let attended = layers.graph.multi_head_attention(&MultiHeadAttention { scale: Some(1.0), ..attention })?;
        let mut weights = None;
        if !layers.is_training() {
            weights = Some(layers.graph.attention_weights([query, key], lengths, attended.log_sum_exp, (1, 1.0))?);
        }
        let out = self.out.forward(layers, attended.context, Activation::None)?;
        Ok((halved_sum(layers, out, u)?, weights))
    }
}

fn halved_sum(layers: &mut Layers, a: Value, b: Value) -> Result<Value> {
    let sum = layers.graph.add(a, b)?;
    layers.graph.scale(sum, HALF)
}

impl ConvS2S {
    /// Reads the inputs `source` `[B, S]` and `lengths` `[B]`.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Source> {
        let (BatchShape { rows, source: steps, .. }, dropout) = (shape, self.config.dropout);
        let source = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let words = self.encoder.embed(layers, source, dropout)?;
        let mut x = self.encoder.into.forward(layers, words, Activation::None)?;
        for convolution in &self.encoder.convolutions {
            x = layers.graph.length_mask(x, lengths, false)?;
            let made = convolution.forward(layers, x, Padding::Same, dropout)?;
            x = halved_sum(layers, made, x)?;
        }
        let key = self.encoder.outof.forward(layers, x, Activation::None)?;
        let both = halved_sum(layers, key, words)?;
        Ok(Source { key, value: layers.graph.length_mask(both, lengths, true)?, lengths })
    }

    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<TeacherForced> {
        let (source, dropout) = (self.encode(layers, shape)?, self.config.dropout);
        let [tokens, targets] = layers.targets(shape);
        let words = self.decoder.embed(layers, tokens, dropout)?;
        let mut x = self.decoder.into.forward(layers, words, Activation::None)?;
        let mut weights = Vec::new();
        for (convolution, attention) in self.decoder.convolutions.iter().zip(&self.attention) {
            let made = convolution.forward(layers, x, Padding::Causal, dropout)?;
            let (made, attended) = attention.forward(layers, made, words, source)?;
            weights.extend(attended);
            x = halved_sum(layers, made, x)?;
        }
        let top = self.decoder.outof.forward(layers, x, Activation::None)?;
        let top = layers.drop(top, dropout)?;
        Ok(TeacherForced { logits: self.output.forward(layers, top, Activation::None)?, targets, weights })
    }
}
