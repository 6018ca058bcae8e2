//! Layers: each declares the names, shapes and first values of its parameters once, and is what graphs and searches find them by.

mod attention;
mod blocks;
mod causal_steps;
mod decoder_steps;
mod embedding;
mod feed_forward;
mod gru_cell;
mod linear;
mod norm;
mod positions;
mod relative_bias;
mod segments;
mod steps;
mod vocabularies;
mod window_attention;

pub use attention::{Attended, HeadSizes, Memory, MultiHeadAttention, Weighing};
pub use blocks::{DecoderLayer, EncoderLayer, LayerDropout, Places, decode};
pub use causal_steps::{CausalLayer, CausalSteps};
pub use decoder_steps::{DecoderSizes, DecoderSteps};
pub use embedding::Embedding;
pub use feed_forward::{FeedForward, FeedForwardRows, FeedForwardTensors, Nonlinearity};
pub use gru_cell::{GruCell, GruTensors};
pub use linear::{Linear, LinearTensors};
pub use norm::{LayerNorm, LayerNormTensors, NormOrder, Residual};
pub use positions::{PositionKind, PositionTensors, Positions};
pub use relative_bias::{RelativeBias, RelativeBiasTensors};
pub use segments::{Segment, in_segments, joined, remembered};
pub use steps::{CachedLayer, Flow, SourceLayer, SourceRows, StepCaches, StepRows};
pub use vocabularies::{Vocabularies, VocabularySettings};
pub use window_attention::WindowAttention;

use std::mem;

use super::{BatchShape, Parameter, Regularisation};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Graph, Value},
};

/// A graph under construction: the parameters in it by name, and the dropout of a training step.
#[derive(Debug, Default)]
pub struct Layers {
    /// The nodes so far.
    pub graph: Graph,
    training: Option<Regularisation>,
    masks_states: bool,
    used: Vec<(String, Value)>,
    /// What stands before the names of parameters.
    prefix: String,
}

impl Layers {
    /// An empty graph without dropout, in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph of a training step, with activations of `precision`.
    pub fn training(regularisation: &Regularisation, precision: Dtype) -> Self {
        Self { graph: Graph::with_precision(precision), training: Some(*regularisation), ..Self::default() }
    }

    /// Adds nodes of another model, which is not trained: they have no dropout, and their parameters are those behind `prefix`.
    ///
    /// # Errors
    /// Those of `nodes`.
    pub fn of_another<T>(&mut self, prefix: &str, nodes: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let graph = mem::take(&mut self.graph);
        let mut other = Self { graph, prefix: prefix.to_owned(), ..Self::default() };
        let made = nodes(&mut other);
        self.graph = other.graph;
        made
    }

    /// The parameters used so far, in the order of their first use.
    pub fn used(&self) -> &[(String, Value)] {
        &self.used
    }

    /// The one value of a parameter, however many layers share it.
    pub fn parameter(&mut self, parameter: &Parameter) -> Value {
        if let Some((_, value)) = self.used.iter().find(|(used, _)| *used == parameter.name) {
            return *value;
        }
        let value = self.graph.parameter(format!("{}{}", self.prefix, parameter.name), parameter.shape.clone());
        self.used.push((parameter.name.clone(), value));
        value
    }

    /// What a decoder reads under teacher forcing, and what it should predict: the inputs `target_in` and `target_out` `[B, T]`.
    pub fn targets(&mut self, shape: BatchShape) -> [Value; 2] {
        ["target_in", "target_out"].map(|name| self.graph.input(name, [shape.rows, shape.target], Dtype::U32))
    }

    /// Whether dropout of this rate leaves embedded words unchanged.
    pub fn keeps_words(&self, rate: f32) -> bool {
        self.training.is_none_or(|training| rate == 0.0 && training.dropout_words == 0.0)
    }

    /// Whether a recurrent layer has asked for the mask on its states.
    pub fn masks_states(&self) -> bool {
        self.masks_states
    }

    /// Whether the graph is one of a training step.
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// A rate of dropout in training; without it 0.
    pub fn rate(&self, rate: f32) -> f32 {
        if self.training.is_some() { rate } else { 0.0 }
    }

    /// Dropout of activations `[B, T, E]` in training.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn drop(&mut self, x: Value, rate: f32) -> Result<Value> {
        match self.training {
            None => Ok(x),
            Some(Regularisation { variational: true, .. }) => self.graph.variational_dropout(x, rate),
            Some(_) => self.graph.dropout(x, rate),
        }
    }

    /// Dropout of embedded words `[B, T, E]` in training: of whole words, then of their elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn drop_words(&mut self, words: Value, rate: f32) -> Result<Value> {
        let whole = self.training.map_or(0.0, |training| training.dropout_words);
        let words = self.graph.row_dropout(words, whole)?;
        self.drop(words, rate)
    }

    /// `x + f(z)`, none of whose activations is kept for the backward pass ([`Graph::reversible_add`]).
    ///
    /// # Errors
    /// [`crate::Error::Shape`], and the errors of `f`.
    pub fn reversible(
        &mut self,
        x: Value,
        z: Value,
        f: impl FnOnce(&mut Self, Value) -> Result<Value>,
    ) -> Result<Value> {
        let beginning = self.graph.beginning();
        let made = f(self, z)?;
        self.graph.reversible_add(x, z, made, beginning)
    }

    /// Dropout of what all rows of a batch share, such as vectors of positions, in training: of each element by itself.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn drop_shared(&mut self, x: Value, rate: f32) -> Result<Value> {
        let rate = self.rate(rate);
        self.graph.shared_dropout(x, rate)
    }

    /// The mask `[D, B, H]` on the states of a recurrent layer of D directions, if training has one.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn state_mask(&mut self, [directions, rows, hidden]: [usize; 3]) -> Result<Option<Value>> {
        self.masks_states = true;
        match self.training {
            Some(Regularisation { dropout_state: rate, .. }) if rate != 0.0 => {
                // Batch rows come first where they are counted.
                let ones = self.graph.filled([rows, directions, hidden], 1.0);
                let mask = self.graph.dropout(ones, rate)?;
                match directions {
                    1 => self.graph.reshape(mask, [1, rows, hidden]).map(Some),
                    _ => self.graph.permute(mask, &[1, 0, 2]).map(Some),
                }
            }
            _ => Ok(None),
        }
    }
}
