//! Layers of encoders and decoders: attentions and a feed-forward part, each inside its residual connection (Vaswani et al. 2017,
//! section 3.1).

use super::{Attended, FeedForward, Layers, Memory, MultiHeadAttention, Residual, Weighing};
use crate::{Result, graph::Value, model::Parameter};

/// Rates of dropout in a layer, in training.
#[derive(Clone, Copy, Debug)]
pub struct LayerDropout {
    /// Of each part's result, before it is added to what passes the part by.
    pub results: f32,
    /// Of attention weights.
    pub weights: f32,
    /// Between the two layers of the feed-forward part.
    pub between: f32,
}

/// What a text's attention to itself knows of its places.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// `[B]`: the places of each text that are seen.
    pub lengths: Value,
    /// `[N, 2 T - 1]`: what scores get added by distance ([`crate::graph::MultiHeadAttention::bias`]).
    pub bias: Option<Value>,
}

/// A layer of an encoder.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// To all of the text.
    pub attention: MultiHeadAttention,
    /// Around the attention.
    pub attention_residual: Residual,
    /// Of each position by itself.
    pub feed_forward: FeedForward,
    /// Around it.
    pub feed_forward_residual: Residual,
}

/// A layer of a decoder.
#[derive(Clone, Debug)]
pub struct DecoderLayer {
    /// To what is before a position.
    pub attention: MultiHeadAttention,
    /// Around that attention.
    pub attention_residual: Residual,
    /// To the encoder's states.
    pub source_attention: MultiHeadAttention,
    /// Around that attention.
    pub source_residual: Residual,
    /// Of each position by itself.
    pub feed_forward: FeedForward,
    /// Around it.
    pub feed_forward_residual: Residual,
}

impl EncoderLayer {
    /// In the order of Hugging Face's BART.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let attention = self.attention.parameters().chain(self.attention_residual.norm.parameters());
        let feed_forward = self.feed_forward.parameters().chain(self.feed_forward_residual.norm.parameters());
        attention.chain(feed_forward)
    }

    /// `x` `[B, S, D]` through the layer.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, places: Places, dropout: LayerDropout) -> Result<Value> {
        let Places { lengths, bias } = places;
        self.attending(layers, x, dropout, |layers, x| {
            let weighing = Weighing { causal: false, bias, dropout: dropout.weights };
            self.attention.forward(layers, x, Memory { states: x, lengths }, weighing)
        })
    }

    /// The same where `attend` does as the attention.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], and those of `attend`.
    pub fn attending(
        &self,
        layers: &mut Layers,
        x: Value,
        dropout: LayerDropout,
        attend: impl FnOnce(&mut Layers, Value) -> Result<Value>,
    ) -> Result<Value> {
        let x = self.attention_residual.around(layers, x, dropout.results, attend)?;
        self.feed_forward_residual
            .around(layers, x, dropout.results, |layers, x| self.feed_forward.forward(layers, x, dropout.between))
    }
}

impl DecoderLayer {
    /// In the order of Hugging Face's BART.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let attention = self.attention.parameters().chain(self.attention_residual.norm.parameters());
        let source = self.source_attention.parameters().chain(self.source_residual.norm.parameters());
        let feed_forward = self.feed_forward.parameters().chain(self.feed_forward_residual.norm.parameters());
        attention.chain(source).chain(feed_forward)
    }

    /// `x` `[B, T, D]` through the layer, and its attention to the source.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        layers: &mut Layers,
        x: Value,
        places: Places,
        source: Memory,
        dropout: LayerDropout,
    ) -> Result<(Value, Option<Attended>)> {
        let Places { lengths, bias } = places;
        let x = self.attention_residual.around(layers, x, dropout.results, |layers, x| {
            let weighing = Weighing { causal: true, bias, dropout: dropout.weights };
            self.attention.forward(layers, x, Memory { states: x, lengths }, weighing)
        })?;
        let mut attended = None;
        let x = self.source_residual.around(layers, x, dropout.results, |layers, x| {
            let weighing = Weighing { dropout: dropout.weights, ..Weighing::default() };
            let made = self.source_attention.attend(layers, x, source, weighing)?;
            attended = Some(made);
            Ok(made.result)
        })?;
        let x = self
            .feed_forward_residual
            .around(layers, x, dropout.results, |layers, x| self.feed_forward.forward(layers, x, dropout.between))?;
        Ok((x, attended))
    }
}

/// `x` `[B, T, D]` through the layers of a decoder, and, but for training, the top one's weights `[B, T, S]` of the source, for
/// looking at: no loss has a gradient through them.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn decode(
    decoder: &[DecoderLayer],
    layers: &mut Layers,
    mut x: Value,
    places: Places,
    source: Memory,
    dropout: LayerDropout,
) -> Result<(Value, Option<Value>)> {
    let mut weights = None;
    for (number, layer) in (1..).zip(decoder) {
        let (result, attended) = layer.forward(layers, x, places, source, dropout)?;
        x = result;
        if let Some(attended) = attended.filter(|_| number == decoder.len() && !layers.is_training()) {
            weights = Some(layer.source_attention.weights(layers, &attended, source)?);
        }
    }
    Ok((x, weights))
}
