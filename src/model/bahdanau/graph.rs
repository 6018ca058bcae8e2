//! The model's graphs.

use super::Bahdanau;
use crate::{
    Result,
    graph::{DecoderInputs, DecoderOutputs, GruInput, Value},
    kernels::{gru::Tokens, matmul::Activation},
    model::{BatchShape, Forward, Layers},
};

/// The encoded sources, as inputs of the decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    /// `[B, S, 2H]`
    pub annotation: Value,
    /// The annotations projected for the alignment, `[B, S, A]`.
    pub key: Value,
    /// The decoder's first state, `[B, H]`.
    pub state: Value,
    /// `[B]`
    pub lengths: Value,
}

impl Bahdanau {
    /// The encoder, bridge and keys. `by_token` as in [`crate::model::GruEncoder::forward`].
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape, by_token: bool) -> Result<Encoded> {
        let encoded = self.encoder.forward(layers, shape, self.config.dropout, by_token)?;
        let state = self.bridge.forward(layers, encoded.last, Activation::Tanh)?;
        let key = self.key.forward(layers, encoded.annotation, Activation::None)?;
        Ok(Encoded { annotation: encoded.annotation, key, state, lengths: encoded.lengths })
    }

    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let by_token = Tokens::pays(self.config.source_vocabulary, shape.source);
        let encoded = self.encode(layers, shape, by_token)?;
        let [tokens, targets] = layers.targets(shape);
        let DecoderOutputs { features, weights } = self.decode(layers, &encoded, shape, tokens)?;
        let logits = self.logits(layers, features)?;
        Ok(Forward { logits, targets, attention: Some(weights) })
    }

    fn decode(
        &self,
        layers: &mut Layers,
        encoded: &Encoded,
        shape: BatchShape,
        tokens: Value,
    ) -> Result<DecoderOutputs> {
        let table = layers.parameter(&self.words.weight);
        let pays = Tokens::pays(self.config.target_vocabulary, shape.target);
        let words = if pays && layers.keeps_words(self.config.dropout) {
            GruInput::Tokens { table, tokens }
        } else {
            let words = layers.graph.embedding(table, tokens)?;
            GruInput::Rows(layers.drop_words(words, self.config.dropout)?)
        };
        let (rows, hidden) = (shape.rows, self.config.hidden);
        let mask = layers.state_mask([1, rows, hidden])?;
        let mask = mask.map(|mask| layers.graph.reshape(mask, [rows, hidden])).transpose()?;
        let inputs = DecoderInputs {
            words,
            state0: encoded.state,
            key: encoded.key,
            annotation: encoded.annotation,
            lengths: encoded.lengths,
            query_weight: layers.parameter(&self.query.weight),
            energy: layers.parameter(&self.energy.weight),
            cell: self.cell.values(layers),
            mask,
        };
        layers.graph.attentional_decoder(&inputs)
    }

    fn logits(&self, layers: &mut Layers, features: Value) -> Result<Value> {
        let mut features = features;
        if let Some(readout) = &self.readout {
            features = readout.forward(layers, features, Activation::Tanh)?;
        }
        let features = layers.drop(features, self.config.dropout)?;
        self.output.forward(layers, features, Activation::None)
    }
}
