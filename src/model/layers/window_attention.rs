//! Attention within a window, and global positions that have projections of their own (Beltagy, Peters and Cohan 2020, section 3.1).

use super::{HeadSizes, Layers, Linear, Memory, MultiHeadAttention};
use crate::{
    Result,
    graph::{self, Value, Window},
    kernels::matmul::Activation,
    model::Parameter,
};

/// What an attention has besides where positions see those around them and a few global ones. The queries of global positions see all
/// of the text, and have these projections for it; the others see global keys by the projections that all keys have.
#[derive(Clone, Debug)]
pub struct WindowAttention {
    /// Keys to either side of a query.
    pub reach: usize,
    /// To the queries of global positions.
    pub query: Linear,
    /// To the keys that these see.
    pub key: Linear,
    /// To their values.
    pub value: Linear,
}

impl WindowAttention {
    /// The parameters of query, key and value.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.query, &self.key, &self.value].into_iter().flat_map(Linear::parameters)
    }

    /// `[B, T, D]`: what `attention` makes of the states of `memory` within the window. `globals` `[B, G]` are the global positions in
    /// ascending order; `dropout` is the share of weights that it takes.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        layers: &mut Layers,
        attention: &MultiHeadAttention,
        memory: Memory,
        globals: Value,
        dropout: f32,
    ) -> Result<Value> {
        let Memory { states, lengths } = memory;
        let HeadSizes { count, scale, .. } = attention.heads;
        let all = |layers: &mut Layers, linear: &Linear, x: Value| linear.forward(layers, x, Activation::None);
        let (scale, dropout) = (Some(scale), layers.rate(dropout));
        let query = all(layers, &attention.query, states)?;
        let key = all(layers, &attention.key, states)?;
        let value = all(layers, &attention.value, states)?;
        let heads = graph::MultiHeadAttention::new(query, key, value, lengths, count);
        let window = Some(Window { globals: Some(globals), ..Window::of(self.reach) });
        let within = graph::MultiHeadAttention { scale, window, dropout, ..heads };
        let context = layers.graph.multi_head_attention(&within)?.context;

        let rows = layers.graph.listed_rows(states, globals)?;
        let query = all(layers, &self.query, rows)?;
        let key = all(layers, &self.key, states)?;
        let value = all(layers, &self.value, states)?;
        let heads = graph::MultiHeadAttention::new(query, key, value, lengths, count);
        let everywhere = graph::MultiHeadAttention { scale, dropout, ..heads };
        let rows = layers.graph.multi_head_attention(&everywhere)?.context;
        let context = layers.graph.put_listed_rows(context, rows, globals)?;
        all(layers, &attention.output, context)
    }
}
