//! Attention by several heads over projected queries, keys and values.

use super::{Layers, Linear};
use crate::{
    Result,
    graph::{self, Value},
    kernels::{dot_product_attention::standard_scale, matmul::Activation},
    model::Parameter,
};

/// The heads of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadSizes {
    /// How many, N.
    pub count: usize,
    /// Features of a query, key or value in each.
    pub size: usize,
    /// What products of queries and keys are multiplied with.
    pub scale: f32,
}

impl HeadSizes {
    /// `count` heads that share `width` features, with the paper's scale.
    pub fn sharing(width: usize, count: usize) -> Self {
        let size = width / count;
        Self { count, size, scale: standard_scale(size) }
    }

    /// Features of all heads together.
    pub fn width(&self) -> usize {
        self.count * self.size
    }
}

/// Multi-head attention with its four projections (Vaswani et al. 2017, section 3.2.2).
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    /// To the queries of all heads.
    pub query: Linear,
    /// To their keys.
    pub key: Linear,
    /// To their values.
    pub value: Linear,
    /// From their contexts, side by side.
    pub output: Linear,
    /// The heads.
    pub heads: HeadSizes,
}

/// How an attention weighs the rows that it looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighing {
    /// Whether a query sees only rows up to its own place.
    pub causal: bool,
    /// `[N, T + S - 1]`: what scores get added by distance ([`crate::graph::MultiHeadAttention::bias`]).
    pub bias: Option<Value>,
    /// The share of weights that dropout takes, in training.
    pub dropout: f32,
}

/// The rows that an attention looks at.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// `[B, S, D]`, which keys and values are projected from.
    pub states: Value,
    /// `[B]`: the rows of each sentence that are seen.
    pub lengths: Value,
}

/// The result of an attention, and what tells its weights.
#[derive(Clone, Copy, Debug)]
pub struct Attended {
    /// `[B, T, D]`
    pub result: Value,
    query: Value,
    key: Value,
    log_sum_exp: Value,
}

impl MultiHeadAttention {
    /// The parameters of key, value, query and output, in the order of Hugging Face's BART.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.key, &self.value, &self.query, &self.output].into_iter().flat_map(Linear::parameters)
    }

    /// Contexts `[B, T, D]` for the queries of `x` `[B, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, memory: Memory, weighing: Weighing) -> Result<Value> {
        Ok(self.attend(layers, x, memory, weighing)?.result)
    }

    /// The same, with what tells the weights.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn attend(&self, layers: &mut Layers, x: Value, memory: Memory, weighing: Weighing) -> Result<Attended> {
        let (HeadSizes { count, scale, .. }, Weighing { causal, bias, dropout }) = (self.heads, weighing);
        let query = self.query.forward(layers, x, Activation::None)?;
        let key = self.key.forward(layers, memory.states, Activation::None)?;
        let value = self.value.forward(layers, memory.states, Activation::None)?;
        let heads = graph::MultiHeadAttention::new(query, key, value, memory.lengths, count);
        let (scale, dropout) = (Some(scale), layers.rate(dropout));
        let attention = graph::MultiHeadAttention { causal, scale, bias, dropout, ..heads };
        let attended = layers.graph.multi_head_attention(&attention)?;
        let result = self.output.forward(layers, attended.context, Activation::None)?;
        Ok(Attended { result, query, key, log_sum_exp: attended.log_sum_exp })
    }

    /// The mean over heads of the weights `[B, T, S]` that have made a result, for looking at.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn weights(&self, layers: &mut Layers, attended: &Attended, memory: Memory) -> Result<Value> {
        let Attended { query, key, log_sum_exp, .. } = *attended;
        let HeadSizes { count, scale, .. } = self.heads;
        layers.graph.attention_weights([query, key], memory.lengths, log_sum_exp, (count, scale))
    }
}
