//! The model's graph: teacher forcing over whole targets.
//!
//! Without input feeding a state does not depend on the attention of the step before, so all steps are done at once; with it, step by
//! step.

use std::ops::Range;

use super::{Luong, Scoring};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Alignment, Epilogue, Value},
    kernels::{gru::Tokens, matmul::Activation},
    model::{BatchShape, Layers},
};

/// The outputs of the decoder under teacher forcing.
#[derive(Clone, Copy, Debug)]
pub struct TeacherForced {
    /// `[B, T, W]`
    pub logits: Value,
    /// `[B, T]`, the input of the tokens that the logits should predict.
    pub targets: Value,
    /// The weights `[B, T, S]`, and the centres of the windows `[B, T]` where there are any.
    pub alignment: Alignment,
}

/// The encoded sources, as inputs of the decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    /// `[B, S, K]`
    pub annotation: Value,
    /// The keys that states are compared with: the annotations, or their projection by the score.
    pub key: Value,
    /// The weight that projects states to queries for [`Scoring::Concat`], `[A, H]`.
    query_weight: Option<Value>,
    /// The decoder's first state, `[B, H]`.
    pub state: Value,
    /// `[B]`
    pub lengths: Value,
}

/// The outputs of attention for states `[B, T, H]`.
#[derive(Clone, Copy, Debug)]
struct Attended {
    /// The attentional states h~, `[B, T, H]`.
    state: Value,
    alignment: Alignment,
}

impl Luong {
    /// Encodes the sources: encoder, bridge and keys. `by_token` as in [`crate::model::GruEncoder::forward`].
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape, by_token: bool) -> Result<Encoded> {
        let encoded = self.encoder.forward(layers, shape, self.config.dropout, by_token)?;
        let state = match &self.bridge {
            Some(bridge) => bridge.forward(layers, encoded.last, Activation::Tanh)?,
            None => encoded.last,
        };
        let annotation = encoded.annotation;
        let mut query_weight = None;
        let key = match &self.scoring {
            Scoring::Dot | Scoring::Location(_) => annotation,
            Scoring::General(general) => general.forward(layers, annotation, Activation::None)?,
            Scoring::Concat { concat, .. } => {
                // W [h; h̄] is the sum of two products, of which one is the same for all states.
                let weight = layers.parameter(&concat.weight);
                let [of_state, of_annotation] = layers.graph.split_at(weight, self.config.hidden)?;
                query_weight = Some(of_state);
                layers.graph.linear(annotation, of_annotation, Epilogue::default())?
            }
        };
        Ok(Encoded { annotation, key, query_weight, state, lengths: encoded.lengths })
    }

    /// Teacher forcing. Inputs beside the encoder's are `target_in` and `target_out` `[B, T]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<TeacherForced> {
        let by_token = Tokens::pays(self.config.source_vocabulary, shape.source);
        let encoded = self.encode(layers, shape, by_token)?;
        let [tokens, targets] = layers.targets(shape);
        let table = layers.parameter(&self.words.weight);
        let words = layers.graph.embedding(table, tokens)?;
        let words = layers.drop_words(words, self.config.dropout)?;
        let attended = match self.config.input_feeding {
            true => self.decode_step_by_step(layers, &encoded, shape, words)?,
            false => self.decode_at_once(layers, &encoded, shape, words)?,
        };
        let features = layers.drop(attended.state, self.config.dropout)?;
        let logits = self.output.forward(layers, features, Activation::None)?;
        Ok(TeacherForced { logits, targets, alignment: attended.alignment })
    }

    /// Attentional states of `states` `[B, T, H]`, which are those of the steps with these numbers (sections 3.1 and 3.2).
    fn attend(
        &self,
        layers: &mut Layers,
        encoded: &Encoded,
        shape: BatchShape,
        states: Value,
        steps: Range<usize>,
    ) -> Result<Attended> {
        let Encoded { annotation, lengths, .. } = *encoded;
        let scores = self.scores(layers, encoded, states)?;
        let shares = match &self.centre {
            Some(centre) => {
                let inner = centre.position.forward(layers, states, Activation::Tanh)?;
                let shares = centre.energy.forward(layers, inner, Activation::Sigmoid)?;
                Some(layers.graph.reshape(shares, [shape.rows, steps.len()])?)
            }
            None => None,
        };
        let window = self.config.window_from(steps.start);
        let alignment = layers.graph.local_attention(scores, lengths, shares, shape.source, window)?;
        let dtype = layers.graph.dtype(annotation);
        let context = layers.graph.batched_matmul([alignment.weights, annotation], [false, false], dtype)?;
        let both = layers.graph.concatenate(&[context, states])?;
        Ok(Attended { state: self.combine.forward(layers, both, Activation::Tanh)?, alignment })
    }

    /// Scores `[B, T, S]` of states `[B, T, H]` (equation 8); by location `[B, T, L]`.
    fn scores(&self, layers: &mut Layers, encoded: &Encoded, states: Value) -> Result<Value> {
        match (&self.scoring, encoded.query_weight) {
            (Scoring::Location(location), _) => location.forward(layers, states, Activation::None),
            (Scoring::Concat { energy, .. }, Some(query_weight)) => {
                let query = layers.graph.linear(states, query_weight, Epilogue::default())?;
                let energy = layers.parameter(&energy.weight);
                layers.graph.additive_score(query, encoded.key, energy, encoded.lengths)
            }
            _ => layers.graph.batched_matmul([states, encoded.key], [false, true], Dtype::F32),
        }
    }

    fn decode_at_once(
        &self,
        layers: &mut Layers,
        encoded: &Encoded,
        shape: BatchShape,
        words: Value,
    ) -> Result<Attended> {
        let BatchShape { rows, target: steps, .. } = shape;
        let states = [1, rows, self.config.hidden];
        let (start, mask) = (layers.graph.reshape(encoded.state, states)?, layers.state_mask(states)?);
        let lengths = layers.graph.counts([rows], steps as u32);
        let cell = self.cell.values(layers);
        let (states, _) = layers.graph.gru(words, start, lengths, &[cell], mask)?;
        self.attend(layers, encoded, shape, states, 0..steps)
    }

    /// With input feeding (section 3.3): each step reads the attentional state of the one before.
    fn decode_step_by_step(
        &self,
        layers: &mut Layers,
        encoded: &Encoded,
        shape: BatchShape,
        words: Value,
    ) -> Result<Attended> {
        let BatchShape { rows, source, target: steps } = shape;
        let (word, hidden) = (self.config.embedding, self.config.hidden);
        let mut state = layers.graph.reshape(encoded.state, [1, rows, hidden])?;
        let mask = layers.state_mask([1, rows, hidden])?;
        let cell = self.cell.values(layers);
        let one = layers.graph.counts([rows], 1);
        let words = layers.graph.reshape(words, [rows, steps * word])?;
        let words = layers.graph.split(words, &vec![word; steps])?;
        let mut attentional = layers.graph.filled([rows, hidden], 0.0);
        let (mut states, mut weights, mut centres) = (Vec::new(), Vec::new(), Vec::new());
        for (step, word) in words.into_iter().enumerate() {
            let input = layers.graph.concatenate(&[word, attentional])?;
            let input = layers.graph.reshape(input, [rows, 1, self.config.cell_input()])?;
            // A row of one step, whose state is its output.
            let (after, last) = layers.graph.gru(input, state, one, &[cell], mask)?;
            state = *last.first().unwrap_or(&after);
            let query = layers.graph.reshape(state, [rows, 1, hidden])?;
            let attended = self.attend(layers, encoded, shape, query, step..step + 1)?;
            attentional = layers.graph.reshape(attended.state, [rows, hidden])?;
            states.push(attentional);
            weights.push(layers.graph.reshape(attended.alignment.weights, [rows, source])?);
            centres.extend(attended.alignment.centres);
        }
        let states = layers.graph.concatenate(&states)?;
        let weights = layers.graph.concatenate(&weights)?;
        Ok(Attended {
            state: layers.graph.reshape(states, [rows, steps, hidden])?,
            alignment: Alignment {
                weights: layers.graph.reshape(weights, [rows, steps, source])?,
                centres: if centres.is_empty() { None } else { Some(layers.graph.concatenate(&centres)?) },
            },
        })
    }
}
