//! The model as a graph: teacher forcing over whole targets.
//!
//! Without input feeding a state does not depend on the attention of the step before, so all steps are done at once; with it, step by
//! step.

use std::ops::Range;

use super::{Config, Layers, Score, Window};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Alignment, Epilogue, Graph, GruWeights, Value},
    kernels::matmul::Activation,
};

/// Builds the model's graphs.
#[derive(Clone, Debug)]
pub struct Luong {
    config: Config,
}

/// What the forward pass makes.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// `[B, T, W]`
    pub logits: Value,
    /// The alignment weights, `[B, T, S]`.
    pub weights: Value,
    /// The centres of the windows, `[B, T]`, where there are any.
    pub centres: Option<Value>,
}

/// What the decoder needs of the source.
#[derive(Clone, Copy, Debug)]
struct Encoded {
    /// `[B, S, K]`
    annotation: Value,
    /// What states are compared with: the annotations, or what the score makes of them.
    key: Value,
    /// What makes queries of states for [`Score::Concat`], `[A, H]`.
    query_weight: Option<Value>,
    /// The decoder's first state, `[1, B, H]`.
    state: Value,
    /// `[B]`
    lengths: Value,
    /// B
    batch: usize,
    /// S
    keys: usize,
}

/// What attention makes of states `[B, T, H]`.
#[derive(Clone, Copy, Debug)]
struct Attended {
    /// The attentional states h~, `[B, T, H]`.
    state: Value,
    alignment: Alignment,
}

impl Luong {
    /// A model of the given sizes.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check("config")?;
        Ok(Self { config })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Teacher forcing of `batch` rows of `source_steps` and `target_steps` tokens, with dropout of `rate`. Inputs are `source`
    /// `[B, S]`, `lengths` `[B]` and `target_in` `[B, T]` (`<bos> y1 .. yn`), padded with 0.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        graph: &mut Graph,
        layers: &mut Layers,
        [batch, source_steps, target_steps]: [usize; 3],
        rate: f32,
    ) -> Result<Forward> {
        let encoded = self.encode(graph, layers, [batch, source_steps], rate)?;
        let target_in = graph.input("target_in", [batch, target_steps], Dtype::U32);
        let table = layers.get(graph, "decoder.embedding.weight");
        let words = graph.embedding(table, target_in)?;
        let words = graph.dropout(words, rate)?;
        let cell = layers.gru(graph, "decoder.cell", "");
        let attended = if self.config.input_feeding {
            self.decode_step_by_step(graph, layers, &encoded, words, cell, target_steps)?
        } else {
            let lengths = graph.counts([batch], target_steps as u32);
            let (states, _) = graph.gru(words, encoded.state, lengths, &[cell], None)?;
            self.attend(graph, layers, &encoded, states, 0..target_steps)?
        };
        let features = graph.dropout(attended.state, rate)?;
        let logits = layers.linear(graph, features, "output", Activation::None)?;
        let Alignment { weights, centres } = attended.alignment;
        Ok(Forward { logits, weights, centres })
    }

    fn encode(&self, graph: &mut Graph, layers: &mut Layers, [batch, keys]: [usize; 2], rate: f32) -> Result<Encoded> {
        let source = graph.input("source", [batch, keys], Dtype::U32);
        let lengths = graph.input("lengths", [batch], Dtype::U32);
        let table = layers.get(graph, "encoder.embedding.weight");
        let mut annotation = graph.embedding(table, source)?;
        let ways = self.config.directions();
        let start = graph.filled([ways.len(), batch, self.config.hidden], 0.0);
        let mut last = start;
        for layer in 0..self.config.encoder_layers {
            let below = graph.dropout(annotation, rate)?;
            let weights: Vec<_> =
                ways.iter().map(|way| layers.gru(graph, "encoder.gru", &format!("_l{layer}{way}"))).collect();
            (annotation, last) = graph.gru(below, start, lengths, &weights, None)?;
        }
        let state = self.first_state(graph, layers, last, batch)?;
        let (key, query_weight) = self.key(graph, layers, annotation)?;
        Ok(Encoded { annotation, key, query_weight, state, lengths, batch, keys })
    }

    /// The decoder's first state `[1, B, H]` from the encoder's last ones `[D, B, H]`.
    fn first_state(&self, graph: &mut Graph, layers: &mut Layers, last: Value, batch: usize) -> Result<Value> {
        if !self.config.bidirectional {
            return Ok(last);
        }
        // The backward direction's last state has read the whole source, its first word last.
        let last = graph.select(last, 1)?;
        let weight = layers.get(graph, "bridge.weight");
        let bias = Some(layers.get(graph, "bridge.bias"));
        let state = graph.linear(last, weight, Epilogue { bias, activation: Activation::Tanh })?;
        graph.reshape(state, [1, batch, self.config.hidden])
    }

    /// What states are compared with, and the layer that makes queries of them if there is one.
    fn key(&self, graph: &mut Graph, layers: &mut Layers, annotation: Value) -> Result<(Value, Option<Value>)> {
        match self.config.score {
            Score::Dot | Score::Location => Ok((annotation, None)),
            Score::General => Ok((layers.linear(graph, annotation, "attention.general", Activation::None)?, None)),
            Score::Concat => {
                // W [h; h̄] is the sum of two products, of which one is the same for all states.
                let weight = layers.get(graph, "attention.concat.weight");
                let [of_state, of_annotation] = graph.split_at(weight, self.config.hidden)?;
                Ok((graph.linear(annotation, of_annotation, Epilogue::default())?, Some(of_state)))
            }
        }
    }

    /// Attentional states of `states` `[B, T, H]`, which are those of the steps with these numbers (sections 3.1 and 3.2).
    fn attend(
        &self,
        graph: &mut Graph,
        layers: &mut Layers,
        encoded: &Encoded,
        states: Value,
        steps: Range<usize>,
    ) -> Result<Attended> {
        let Encoded { annotation, lengths, batch, keys, .. } = *encoded;
        let scores = self.scores(graph, layers, encoded, states)?;
        let shares = match self.config.window {
            Window::LocalP => Some(self.shares(graph, layers, states, [batch, steps.len()])?),
            Window::Global | Window::LocalM => None,
        };
        let window = self.config.window_from(steps.start);
        let alignment = graph.local_attention(scores, lengths, shares, keys, window)?;
        let dtype = graph.dtype(annotation);
        let context = graph.batched_matmul([alignment.weights, annotation], [false, false], dtype)?;
        let both = graph.concatenate(&[context, states])?;
        Ok(Attended { state: layers.linear(graph, both, "combine", Activation::Tanh)?, alignment })
    }

    /// Scores `[B, T, S]` of states `[B, T, H]` (equation 8); by location `[B, T, L]`.
    fn scores(&self, graph: &mut Graph, layers: &mut Layers, encoded: &Encoded, states: Value) -> Result<Value> {
        match (self.config.score, encoded.query_weight) {
            (Score::Location, _) => layers.linear(graph, states, "attention.location", Activation::None),
            (_, Some(query_weight)) => {
                let query = graph.linear(states, query_weight, Epilogue::default())?;
                let energy = layers.get(graph, "attention.energy.weight");
                graph.additive_score(query, encoded.key, energy, encoded.lengths)
            }
            _ => graph.batched_matmul([states, encoded.key], [false, true], Dtype::F32),
        }
    }

    /// The predicted centres of states `[B, T, H]` as shares of their rows' lengths, `[B, T]` (equation 9).
    fn shares(
        &self,
        graph: &mut Graph,
        layers: &mut Layers,
        states: Value,
        [batch, steps]: [usize; 2],
    ) -> Result<Value> {
        let inner = layers.linear(graph, states, "attention.position", Activation::Tanh)?;
        let shares = layers.linear(graph, inner, "attention.position_energy", Activation::Sigmoid)?;
        graph.reshape(shares, [batch, steps])
    }

    /// With input feeding (section 3.3): each step reads the attentional state of the one before.
    fn decode_step_by_step(
        &self,
        graph: &mut Graph,
        layers: &mut Layers,
        encoded: &Encoded,
        words: Value,
        cell: GruWeights,
        steps: usize,
    ) -> Result<Attended> {
        let Encoded { batch, keys, .. } = *encoded;
        let Config { embedding, hidden, .. } = self.config;
        let one = graph.counts([batch], 1);
        let words = graph.reshape(words, [batch, steps * embedding])?;
        let words = graph.split(words, &vec![embedding; steps])?;
        let mut state = encoded.state;
        let mut attentional = graph.filled([batch, hidden], 0.0);
        let (mut states, mut weights, mut centres) = (Vec::new(), Vec::new(), Vec::new());
        for (step, word) in words.into_iter().enumerate() {
            let input = graph.concatenate(&[word, attentional])?;
            let input = graph.reshape(input, [batch, 1, embedding + hidden])?;
            (_, state) = graph.gru(input, state, one, &[cell], None)?;
            let queries = graph.reshape(state, [batch, 1, hidden])?;
            let attended = self.attend(graph, layers, encoded, queries, step..step + 1)?;
            attentional = graph.reshape(attended.state, [batch, hidden])?;
            states.push(attentional);
            weights.push(graph.reshape(attended.alignment.weights, [batch, keys])?);
            centres.extend(attended.alignment.centres);
        }
        let states = graph.concatenate(&states)?;
        let weights = graph.concatenate(&weights)?;
        Ok(Attended {
            state: graph.reshape(states, [batch, steps, hidden])?,
            alignment: Alignment {
                weights: graph.reshape(weights, [batch, steps, keys])?,
                centres: if centres.is_empty() { None } else { Some(graph.concatenate(&centres)?) },
            },
        })
    }
}
