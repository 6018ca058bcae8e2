//! Gated recurrent layers: [`crate::kernels::gru`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::gru::{Gradients, Gru, Input, Inputs, Outputs, Saved, Tile, Tokens, Weights},
};

/// The parameters of one direction of a GRU layer, gates in the order r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct GruWeights {
    /// `[3H, I]`
    pub weight_ih: Value,
    /// `[3H, H]`
    pub weight_hh: Value,
    /// `[3H]`
    pub bias_ih: Value,
    /// `[3H]`
    pub bias_hh: Value,
}

impl GruWeights {
    pub(super) fn values(&self) -> [Value; 4] {
        [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
    }
}

/// What a GRU layer reads.
#[derive(Clone, Copy, Debug)]
pub enum GruInput {
    /// `[B, S, I]`
    Rows(Value),
    /// The rows of a table that tokens name, as [`Graph::embedding`] would return them, without making them: the table is
    /// multiplied with the weights, and tokens pick from the product. It pays where the table is small.
    Tokens {
        /// `[V, I]`
        table: Value,
        /// `[B, S]`
        tokens: Value,
    },
}

impl From<Value> for GruInput {
    fn from(x: Value) -> Self {
        Self::Rows(x)
    }
}

/// What follows the inputs that every layer has.
struct Rest<'a> {
    cells: &'a [Tensor],
    mask: Option<&'a Tensor>,
    tokens: Option<&'a Tensor>,
}

/// A layer, and the rows V of its table if its inputs are tokens.
#[derive(Clone, Copy, Debug)]
struct Layer {
    gru: Gru,
    vocabulary: Option<usize>,
}

impl Layer {
    /// Elements of what tokens need besides.
    fn scratch(&self) -> Vec<(Shape, Dtype)> {
        let Gru { batch, steps, hidden, .. } = self.gru;
        self.vocabulary.map_or(vec![], |vocabulary| token_scratch(batch * steps, vocabulary, hidden))
    }

    /// The number of weights.
    fn weights(&self) -> usize {
        4 * self.gru.directions
    }

    fn rest<'a>(&self, tensors: &'a [Tensor]) -> Rest<'a> {
        let (cells, more) = tensors.split_at(self.weights());
        let (mask, tokens) = more.split_at(usize::from(self.gru.masked));
        Rest { cells, mask: mask.first(), tokens: tokens.first() }
    }

    /// The kernel's input from `x`, or the table and the tokens.
    fn input<'a>(&self, x: &'a Tensor, tokens: Option<&'a Tensor>, scratch: &'a [Tensor]) -> Input<'a> {
        match (tokens, scratch.last_chunk()) {
            (Some(tokens), Some(scratch)) => Input::Tokens(Tokens { table: x, tokens, scratch }),
            _ => Input::Rows(x),
        }
    }
}

/// Shapes and types of [`Tokens::scratch`].
pub(super) fn token_scratch(inputs: usize, vocabulary: usize, hidden: usize) -> Vec<(Shape, Dtype)> {
    Tokens::scratch(inputs, vocabulary, hidden).map(|elements| ([elements].into(), Dtype::F32)).to_vec()
}

/// Inputs: x (or the table), h0, lengths, four weights per direction (the mask) (and tokens).
/// Outputs: y, hn, states, gates, scratch (and three of scratch).
#[derive(Debug)]
struct Forward(Layer);

/// Inputs: x (or the table), h0, lengths, states, gates, d_y, d_hn, four weights per direction (the mask) (and tokens).
/// Outputs: d_x (or of the table), d_h0, four weight gradients per direction, four of scratch (and three more).
#[derive(Debug)]
struct Backward(Layer);

impl Graph {
    /// One GRU layer over a sequence (Cho et al. 2014, in the form of cuDNN and PyTorch: reset applied after the recurrent
    /// product) in one or two directions: `x` `[B, S, I]` or tokens, `h0` `[D, B, H]`, `lengths` `[B]`. Returns the states
    /// `[B, S, D·H]`, 0 past a row's length, and the last state of each direction `[D, B, H]`.
    ///
    /// `mask` `[D, B, H]` multiplies the state where it enters the recurrent product, at every step the same, and has no gradient:
    /// [`Graph::dropout`] of ones makes it variational dropout ([`crate::kernels::gru::Masking`]).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn gru(
        &mut self,
        x: impl Into<GruInput>,
        h0: Value,
        lengths: Value,
        weights: &[GruWeights],
        mask: Option<Value>,
    ) -> Result<(Value, Value)> {
        const NAME: &str = "gru";
        let dtype = self.dtype(h0).activation();
        let (x, tokens, vocabulary, [batch, steps, input]) = match x.into() {
            GruInput::Rows(x) => (x, None, None, self.expect(NAME, "x", x, dtype, [None; 3])?),
            GruInput::Tokens { table, tokens } => {
                let [vocabulary, input] = self.expect(NAME, "table", table, Dtype::F32, [None; 2])?;
                let [batch, steps] = self.expect(NAME, "tokens", tokens, Dtype::U32, [None; 2])?;
                (table, Some(tokens), Some(vocabulary), [batch, steps, input])
            }
        };
        let directions = weights.len();
        if !(1..=2).contains(&directions) {
            return Err(Error::Shape {
                operation: NAME,
                argument: "weights",
                wanted: "those of one or two directions".into(),
                got: format!("those of {directions}"),
            });
        }
        let [_, _, hidden] = self.expect(NAME, "h0", h0, dtype, [Some(directions), Some(batch), None])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let mut inputs = vec![x, h0, lengths];
        for weights in weights {
            self.expect_cell(NAME, weights, input, hidden)?;
            inputs.extend(weights.values());
        }
        if let Some(mask) = mask {
            self.expect(NAME, "mask", mask, dtype, [Some(directions), Some(batch), Some(hidden)])?;
        }
        inputs.extend(mask);
        inputs.extend(tokens);
        let gru = Gru { batch, steps, input, hidden, directions, masked: mask.is_some() };
        let layer = Layer { gru, vocabulary };
        let shapes: [Shape; 5] = [
            [batch, steps, directions * hidden].into(),
            [directions, batch, hidden].into(),
            gru.states_shape().into(),
            gru.gates_shape().into(),
            [gru.scratch()].into(),
        ];
        let made = shapes.map(|shape| (shape, dtype)).into_iter().chain(layer.scratch());
        let outputs = self.push_as(Forward(layer), &inputs, made);
        Ok((outputs[0], outputs[1]))
    }

    /// Checks the parameters of a GRU cell.
    pub(super) fn expect_cell(
        &self,
        operation: &'static str,
        weights: &GruWeights,
        input: usize,
        hidden: usize,
    ) -> Result<()> {
        let gates = Some(3 * hidden);
        self.expect(operation, "weight_ih", weights.weight_ih, Dtype::F32, [gates, Some(input)])?;
        self.expect(operation, "weight_hh", weights.weight_hh, Dtype::F32, [gates, Some(hidden)])?;
        self.expect(operation, "bias_ih", weights.bias_ih, Dtype::F32, [gates])?;
        self.expect(operation, "bias_hh", weights.bias_hh, Dtype::F32, [gates]).map(|_| ())
    }
}

/// Groups of four tensors as weights.
pub(super) fn weights(tensors: &[Tensor]) -> Vec<Weights<'_>> {
    let (groups, _) = tensors.as_chunks::<4>();
    groups
        .iter()
        .map(|[weight_ih, weight_hh, bias_ih, bias_hh]| Weights { weight_ih, weight_hh, bias_ih, bias_hh })
        .collect()
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [x, h0, lengths, rest @ ..] = context.inputs else { unreachable!("three inputs and weights are pushed") };
        let [y, hn, states, gates, scratch, more @ ..] = context.outputs else {
            unreachable!("five outputs are pushed")
        };
        let gru = self.0.gru;
        let tile = Tile::choose(recorder.gpu(), gru.batch);
        let Rest { cells, mask, tokens } = self.0.rest(rest);
        let inputs = Inputs { x: self.0.input(x, tokens, more), h0, lengths, weights: &weights(cells), mask };
        gru.record(recorder, tile, &inputs, &Outputs { y, hn }, &Saved { states, gates }, scratch)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let mut upstream_or_zero = |index: usize| upstream[index].unwrap_or_else(|| graph.zeros_like(outputs[index]));
        let (d_y, d_hn) = (upstream_or_zero(0), upstream_or_zero(1));
        let [x, h0, lengths, rest @ ..] = inputs else { unreachable!("three inputs and weights are pushed") };
        let Layer { gru, .. } = self.0;
        let (weights, others) = rest.split_at(self.0.weights());
        let mut from = vec![*x, *h0, *lengths, outputs[2], outputs[3], d_y, d_hn];
        from.extend(rest);
        let mut made = vec![graph.like(*x), graph.like(*h0)];
        made.extend(weights.iter().map(|weight| graph.like(*weight)));
        let scratch = gru.backward_scratch(graph.dtype(*h0));
        made.extend(scratch.map(|(elements, dtype)| (Shape::from([elements]), dtype)));
        made.extend(self.0.scratch());
        let gradients = graph.push_as(Backward(self.0), &from, made);
        let mut result = vec![Some(gradients[0]), Some(gradients[1]), None];
        result.extend(gradients[2..2 + weights.len()].iter().copied().map(Some));
        result.extend(others.iter().map(|_| None));
        Ok(result)
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [x, h0, lengths, states, gates, d_y, d_hn, rest @ ..] = context.inputs else {
            unreachable!("seven inputs and weights are pushed")
        };
        let [d_x, d_h0, outputs @ ..] = context.outputs else { unreachable!("gradients and scratch are pushed") };
        let gru = self.0.gru;
        let Rest { cells, mask, tokens } = self.0.rest(rest);
        let (d_cells, scratch) = outputs.split_at(self.0.weights());
        let [a, b, c, d, more @ ..] = scratch else { unreachable!("four of scratch are pushed") };
        let tile = Tile::choose(recorder.gpu(), gru.batch);
        let inputs = Inputs { x: self.0.input(x, tokens, more), h0, lengths, weights: &weights(cells), mask };
        let gradients = Gradients { y: d_y, hn: d_hn, x: d_x, h0: d_h0, weights: &weights(d_cells) };
        gru.record_backward(recorder, tile, &inputs, &Saved { states, gates }, [a, b, c, d], &gradients)
    }
}
