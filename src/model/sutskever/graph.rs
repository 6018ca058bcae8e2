//! The model's graph: teacher forcing over whole targets.

use super::Sutskever;
use crate::{
    Result,
    graph::{GruInput, Value},
    kernels::{gru::Tokens, matmul::Activation},
    model::{BatchShape, Forward, Layers},
};

impl Sutskever {
    /// Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let by_token = Tokens::pays(self.config.source_vocabulary, shape.source);
        let encoded = self.encoder.forward(layers, shape, self.config.dropout, by_token)?;
        let [tokens, targets] = layers.targets(shape);
        let states = self.decode(layers, encoded.finals, shape, tokens)?;
        let states = layers.drop(states, self.config.dropout)?;
        let logits = self.output.forward(layers, states, Activation::None)?;
        Ok(Forward { logits, targets, attention: None })
    }

    /// The states of the top layer, `[B, T, H]`; each layer begins where the encoder's of the same number has ended, `[1, B, H]`.
    fn decode(&self, layers: &mut Layers, finals: Vec<Value>, shape: BatchShape, tokens: Value) -> Result<Value> {
        let BatchShape { rows, target: steps, .. } = shape;
        let table = layers.parameter(&self.words.weight);
        let by_token = Tokens::pays(self.config.target_vocabulary, steps) && layers.keeps_words(self.config.dropout);
        let mut input = if by_token {
            GruInput::Tokens { table, tokens }
        } else {
            let words = layers.graph.embedding(table, tokens)?;
            GruInput::Rows(layers.drop_words(words, self.config.dropout)?)
        };
        // What follows a target's end is no target.
        let lengths = layers.graph.counts([rows], steps as u32);
        let mut states = table;
        for (number, (cell, start)) in self.cells.iter().zip(finals).enumerate() {
            if number > 0 {
                input = layers.drop(states, self.config.dropout)?.into();
            }
            let mask = layers.state_mask([1, rows, self.config.hidden])?;
            let cell = cell.values(layers);
            (states, _) = layers.graph.gru(input, start, lengths, &[cell], mask)?;
        }
        Ok(states)
    }
}
