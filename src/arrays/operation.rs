//! The operations that there are on arrays.

use serde::Deserialize;

use crate::{
    Error, Result, Tensor,
    gpu::{Dtype, Recorder, Shape},
    graph::{Epilogue, Graph, GruWeights, Placed, ProgramOptions, Value},
};

/// An operation on arrays: what it is given and gives, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// `a·b` of `a` `[.., M, K]` and either one `b` `[K, N]` or, with the same extents in front, as many `b` `[.., K, N]`: `[.., M, N]`.
    /// It has no lengths.
    Matmul,
    /// One GRU layer over whole rows ([`Graph::gru`]): `x` `[B, S, I]`, `h0` `[D, B, H]`, and for each of D = 1 or 2 directions
    /// `weight_ih` `[3H, I]`, `weight_hh` `[3H, H]`, `bias_ih` `[3H]`, `bias_hh` `[3H]`, as PyTorch keeps them. It gives the states
    /// `[B, S, D·H]`, 0 past a row's length, and the last state of each direction `[D, B, H]`.
    Gru,
    /// [`Graph::additive_attention`]: `query` `[B, T, A]` and `key` `[B, S, A]`, projected, `energy` `[A]`, `value` `[B, S, V]`. It gives
    /// the context `[B, T, V]` and the weights `[B, T, S]`.
    AdditiveAttention,
    /// [`Graph::dot_product_attention`]: `query` `[B, N, T, D]`, `key` and `value` `[B, N, S, D]`. It gives the context `[B, N, T, D]`.
    DotProductAttention {
        /// Whether a query sees only keys up to its own position.
        causal: bool,
    },
    /// Softmax over the last extent ([`Graph::softmax`]): `x` to `y` of its shape; with a length for each row.
    Softmax,
}

impl Operation {
    /// The operation's name, as in the table of kernels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matmul => "matmul",
            Self::Gru => "gru",
            Self::AdditiveAttention => "additive_attention",
            Self::DotProductAttention { .. } => "dot_product_attention",
            Self::Softmax => "softmax",
        }
    }

    /// Records the operation's kernels, among others, on tensors of the device: f32, and `lengths` u32, where one past its row's end
    /// counts as that end. What the kernels need beside these, they have of their own.
    ///
    /// # Errors
    /// [`Error::Shape`] for inputs or outputs that do not fit the operation, or lie in one buffer; the errors of the device.
    pub fn record_on(
        self,
        recorder: &mut Recorder,
        inputs: &[&Tensor],
        lengths: Option<&Tensor>,
        outputs: &[&Tensor],
    ) -> Result<()> {
        let mut graph = Graph::new();
        let given = inputs.iter().copied().chain(lengths).enumerate();
        let mut given: Vec<(Value, Tensor)> = given
            .map(|(place, tensor)| {
                let value = graph.input(format!("input {place}"), tensor.shape().clone(), tensor.dtype());
                (value, tensor.clone())
            })
            .collect();
        let values: Vec<Value> = given.iter().map(|(value, _)| *value).collect();
        let (inputs, lengths) = values.split_at(inputs.len());
        let (results, _) = self.record(&mut graph, inputs, lengths.first().copied())?;
        let typed = |dtype: Dtype, shape: &Shape| format!("{dtype} {shape}");
        let wanted: Vec<String> = results.iter().map(|one| typed(graph.dtype(*one), graph.shape(*one))).collect();
        let got: Vec<String> = outputs.iter().map(|tensor| typed(tensor.dtype(), tensor.shape())).collect();
        if wanted != got {
            let (wanted, got) = (wanted.join(" and "), got.join(" and "));
            return Err(Error::Shape { operation: self.name(), argument: "outputs", wanted, got });
        }
        given.extend(results.into_iter().zip(outputs.iter().copied().cloned()));
        let options = ProgramOptions { label: self.name().into(), given: &given, ..ProgramOptions::default() };
        Placed::new(recorder.gpu(), &graph, &options)?.record(recorder)
    }

    /// Appends the operation to a graph: its outputs, and the most that a length may be.
    pub(super) fn record(
        self,
        graph: &mut Graph,
        inputs: &[Value],
        lengths: Option<Value>,
    ) -> Result<(Vec<Value>, usize)> {
        match (self, inputs) {
            (Self::Matmul, [a, b]) if lengths.is_none() => Ok((vec![matmul(graph, *a, *b)?], 0)),
            (Self::Gru, [x, h0, weights @ ..]) => {
                let (batch, steps) = (extent(graph, *x, 0), extent(graph, *x, 1));
                let lengths = lengths.unwrap_or_else(|| graph.counts([batch], steps as u32));
                let (states, last) = graph.gru(*x, *h0, lengths, &self.directions(weights)?, None)?;
                Ok((vec![states, graph.stacked(&last)?], steps))
            }
            (Self::AdditiveAttention, [query, key, energy, value]) => {
                let (batch, keys) = (extent(graph, *key, 0), extent(graph, *key, 1));
                let lengths = lengths.unwrap_or_else(|| graph.counts([batch], keys as u32));
                let (context, weights) = graph.additive_attention(*query, *key, *energy, *value, lengths)?;
                Ok((vec![context, weights], keys))
            }
            (Self::DotProductAttention { causal }, [query, key, value]) => {
                let (batch, keys) = (extent(graph, *key, 0), extent(graph, *key, 2));
                let lengths = lengths.unwrap_or_else(|| graph.counts([batch], keys as u32));
                Ok((vec![graph.dot_product_attention(*query, *key, *value, lengths, causal)?], keys))
            }
            (Self::Softmax, [x]) => Ok((vec![graph.softmax(*x, lengths)?], graph.shape(*x).last())),
            (_, inputs) => Err(self.other_inputs(inputs.len(), lengths.is_some())),
        }
    }

    fn directions(self, weights: &[Value]) -> Result<Vec<GruWeights>> {
        let (cells, rest) = weights.as_chunks();
        if !rest.is_empty() {
            return Err(self.other_inputs(2 + weights.len(), false));
        }
        let cell = |[weight_ih, weight_hh, bias_ih, bias_hh]: &[Value; 4]| GruWeights {
            weight_ih: *weight_ih,
            weight_hh: *weight_hh,
            bias_ih: *bias_ih,
            bias_hh: *bias_hh,
        };
        Ok(cells.iter().map(cell).collect())
    }

    fn other_inputs(self, inputs: usize, lengths: bool) -> Error {
        let wanted = match self {
            Self::Matmul => "2 arrays, a and b, and no lengths",
            Self::Gru => "x, h0, and 4 weights for each direction",
            Self::AdditiveAttention => "4 arrays, query, key, energy and value",
            Self::DotProductAttention { .. } => "3 arrays, query, key and value",
            Self::Softmax => "1 array, x",
        };
        let got = format!("{inputs} arrays{}", if lengths { " and lengths" } else { "" });
        Error::Shape { operation: self.name(), argument: "inputs", wanted: wanted.into(), got }
    }
}

/// An extent of a value; 0 where it has none, which the operation itself refuses.
fn extent(graph: &Graph, value: Value, place: usize) -> usize {
    graph.dims(value).get(place).copied().unwrap_or(0)
}

fn matmul(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    if graph.dims(b).len() < 3 {
        return graph.matmul(a, false, b, false, Epilogue::default());
    }
    let (a_dims, b_dims) = (graph.dims(a).to_vec(), graph.dims(b).to_vec());
    match (a_dims.as_slice(), b_dims.as_slice()) {
        ([front @ .., m, k], [others @ .., rows, n]) if front == others => {
            let batch = front.iter().product();
            let a = graph.reshape(a, [batch, *m, *k])?;
            let b = graph.reshape(b, [batch, *rows, *n])?;
            let product = graph.batched_matmul([a, b], [false; 2], graph.dtype(a))?;
            graph.reshape(product, [front, &[*m, *n]].concat().as_slice())
        }
        _ => Err(Error::Shape {
            operation: "matmul",
            argument: "b",
            wanted: format!("one matrix, or as many as a {} has", graph.shape(a)),
            got: graph.shape(b).to_string(),
        }),
    }
}
