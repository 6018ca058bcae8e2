//! The graphs of modules.

use super::{Layer, SelfAttention, Stack};
use crate::{
    Result,
    gpu::Dtype,
    graph::{GruWeights, MultiHeadAttention, Value},
    kernels::matmul::Activation,
    model::{BatchShape, GruCell, Layers, Parameter},
};

impl Stack {
    /// What the top module gives, `[B, S, D]`, for tokens `[B, S]` or features `[B, S, I]`, `x`, and `lengths` `[B]`. What is past a
    /// row's length means nothing, as in PyTorch, but for a GRU's, which is 0.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn apply(&self, layers: &mut Layers, x: Value, lengths: Value) -> Result<Value> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(layers, x, lengths))
    }

    /// The input `source` `[B, S]` of tokens, or `features` `[B, S, I]`, through the stack, with the input `lengths` `[B]`.
    pub(super) fn of_inputs(&self, layers: &mut Layers, shape: BatchShape) -> Result<Value> {
        let BatchShape { rows, source: steps, .. } = shape;
        let x = match self.config.layers.first().and_then(|layer| layer.inputs()) {
            Some(inputs) => layers.graph.input("features", [rows, steps, inputs], Dtype::F32),
            None => layers.graph.input("source", [rows, steps], Dtype::U32),
        };
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        self.apply(layers, x, lengths)
    }
}

impl Layer {
    fn forward(&self, layers: &mut Layers, x: Value, lengths: Value) -> Result<Value> {
        match self {
            Self::Embedding(table) => {
                let table = layers.parameter(&table.weight);
                layers.graph.embedding(table, x)
            }
            Self::Gru { cells, hidden, bias } => cells.iter().try_fold(x, |x, cells| {
                let rows = layers.graph.shape(lengths).elements();
                let h0 = layers.graph.filled([cells.len(), rows, *hidden], 0.0);
                let weights: Vec<_> = cells.iter().map(|cell| weights(layers, cell, *bias)).collect();
                Ok(layers.graph.gru(x, h0, lengths, &weights, None)?.0)
            }),
            Self::Linear(linear) => linear.forward(layers, x, Activation::None),
            Self::Norm { gain, bias, epsilon } => {
                let gain = layers.parameter(gain);
                let bias = bias.as_ref().map(|bias| layers.parameter(bias));
                layers.graph.layer_norm(x, gain, bias, *epsilon)
            }
            Self::Attention(attention) => {
                let SelfAttention { projection, output, heads } = attention.as_ref();
                let projected = projection.forward(layers, x, Activation::None)?;
                let attention = MultiHeadAttention::within(projected, lengths, *heads);
                let context = layers.graph.multi_head_attention(&attention)?.context;
                output.forward(layers, context, Activation::None)
            }
        }
    }
}

/// A cell's weights, with zeros in place of the biases that it does not have.
fn weights(layers: &mut Layers, cell: &GruCell, bias: bool) -> GruWeights {
    let of = |layers: &mut Layers, parameter: &Parameter| match bias {
        true => layers.parameter(parameter),
        false => layers.graph.filled(parameter.shape.clone(), 0.0),
    };
    GruWeights {
        weight_ih: layers.parameter(&cell.weight_ih),
        weight_hh: layers.parameter(&cell.weight_hh),
        bias_ih: of(layers, &cell.bias_ih),
        bias_hh: of(layers, &cell.bias_hh),
    }
}
