//! What the inputs of a gated recurrent unit contribute to its gates, for all steps at once, and the gradients of that.
//!
//! Inputs that are rows of a small table need no product each: the table is multiplied once, and tokens pick from the result.
//! With tables of 32 and 75 rows, a training step of the default model, 128 x 12 tokens at 256, took 348 ms after 432 on
//! lavapipe: three products of 1,536 rows a direction become three of the table's rows, and 9 ms of picking and adding in all.

use super::{
    embedding::Embedding,
    expect::{expect, expect_of, expect_scratch},
    matmul::{self, Matmul, Matrix, Operands, Summed},
};
use crate::{
    Error, Result,
    gpu::{Dtype, Gpu, Recorder, Tensor, product},
};

/// Parameters of one direction; the gates are stacked in the order r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[3H, I]`.
    pub weight_ih: &'a Tensor,
    /// `[3H, H]`.
    pub weight_hh: &'a Tensor,
    /// `[3H]`.
    pub bias_ih: &'a Tensor,
    /// `[3H]`.
    pub bias_hh: &'a Tensor,
}

/// Where the gradients of [`Weights`] go; each is overwritten.
pub type WeightGradients<'a> = Weights<'a>;

impl Weights<'_> {
    pub(super) fn expect(&self, operation: &'static str, input: usize, hidden: usize) -> Result<()> {
        expect(operation, "weight_ih", self.weight_ih, &[3 * hidden, input])?;
        expect(operation, "weight_hh", self.weight_hh, &[3 * hidden, hidden])?;
        expect(operation, "bias_ih", self.bias_ih, &[3 * hidden])?;
        expect(operation, "bias_hh", self.bias_hh, &[3 * hidden])
    }
}

/// Inputs by their rows in a table, which is f32, with its products.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// `[V, I]`.
    pub table: &'a Tensor,
    /// `[..]`, u32, one for each input; a token past the table counts as its last row.
    pub tokens: &'a Tensor,
    /// Of [`Tokens::scratch`] elements, f32; holds nothing before or after.
    pub scratch: &'a Tensor,
    /// The tokens' [`Embedding::order`], which the backward pass alone reads.
    pub order: Option<&'a Tensor>,
}

impl<'a> Tokens<'a> {
    /// The tokens' order.
    pub(super) fn ordered(&self) -> Result<&'a Tensor> {
        self.order.ok_or_else(|| Error::Shape {
            operation: "gru",
            argument: "order",
            wanted: "that of the tokens, which the backward pass reads".into(),
            got: "none".into(),
        })
    }

    /// Elements of scratch: the table's products, or their gradients. `gates` are the columns of all directions, 3H each.
    pub fn scratch(vocabulary: usize, gates: usize) -> usize {
        product(&[vocabulary, gates])
    }

    /// Whether the table's products pay: from batches of 16 on it has at most half as many rows as there are inputs. The
    /// batch itself has no say, so that the number of dispatches does not depend on it.
    pub fn pays(vocabulary: usize, steps: usize) -> bool {
        vocabulary <= 8 * steps
    }
}

/// The inputs of all steps.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// `[.., I]`.
    Rows(&'a Tensor),
    /// Rows of a table.
    Tokens(Tokens<'a>),
}

/// Sizes of what all inputs contribute, to the gates of all directions side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateInput {
    /// Inputs, N.
    pub inputs: usize,
    /// Size of one, I.
    pub size: usize,
    /// Size of the state, H.
    pub hidden: usize,
    /// Directions, D.
    pub directions: usize,
}

/// What inputs are multiplied with, by direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputWeights<'a> {
    /// `[3H, I]`.
    pub weight: Matrix<'a>,
    /// `[3H]`.
    pub bias: &'a Tensor,
}

/// Where the gradients go; each is overwritten, but for `input` under `accumulate`.
pub(super) struct InputGradients<'a> {
    /// By direction.
    pub weights: &'a [InputWeights<'a>],
    /// `[N, I]` of the inputs, or `[V, I]` of the table.
    pub input: Matrix<'a>,
    pub accumulate: bool,
}

/// The inputs of [`GateInput::record_backward`].
#[derive(Clone, Copy, Debug)]
pub(super) struct InputBackward<'a> {
    pub input: Input<'a>,
    /// By direction.
    pub weights: &'a [InputWeights<'a>],
    /// `[N, D*3H]`.
    pub d_gi: &'a Tensor,
}

fn rows(tensor: &Tensor, size: usize) -> Matrix<'_> {
    Matrix { tensor, offset: 0, stride: size, batch_stride: 0 }
}

impl GateInput {
    fn gates(&self) -> usize {
        3 * self.hidden
    }

    /// Columns of all directions.
    fn columns(&self) -> usize {
        self.directions * self.gates()
    }

    fn products(&self, tokens: &Tokens<'_>) -> Result<Embedding> {
        let vocabulary = tokens.table.elements() / self.size.max(1);
        expect_of(Dtype::F32, "gru", "table", tokens.table, &[vocabulary, self.size])?;
        expect("gru", "tokens", tokens.tokens, &[self.inputs])?;
        Ok(Embedding { vocabulary, size: self.columns(), tokens: self.inputs, padding: None })
    }

    /// Records `gi` `[N, D*3H]`.
    pub(super) fn record(
        &self,
        recorder: &mut Recorder,
        input: &Input<'_>,
        weights: &[InputWeights<'_>],
        gi: &Tensor,
    ) -> Result<()> {
        let products = self.record_products(recorder, input, weights, gi)?;
        match input {
            Input::Rows(_) => Ok(()),
            Input::Tokens(tokens) => {
                let picked = self.products(tokens)?;
                picked.record(recorder, &products, tokens.tokens, rows(gi, self.columns()))
            }
        }
    }

    /// Records the products of the inputs `[N, D*3H]`, in `gi`, or those of the table that they are in `[V, D*3H]`, in its scratch, and
    /// returns where they are.
    pub(super) fn record_products(
        &self,
        recorder: &mut Recorder,
        input: &Input<'_>,
        weights: &[InputWeights<'_>],
        gi: &Tensor,
    ) -> Result<Tensor> {
        let (x, m, into) = match input {
            Input::Rows(x) => (x, self.inputs, gi.clone()),
            Input::Tokens(tokens) => {
                let products = self.products(tokens)?;
                (&tokens.table, products.vocabulary, self.of_table(tokens, &products)?)
            }
        };
        let (gates, columns) = (self.gates(), self.columns());
        let product = Matmul { m, n: gates, k: self.size, batch: 1, transpose_b: true, ..Matmul::default() };
        let of_directions = weights.iter().enumerate().map(|(d, InputWeights { weight, bias })| {
            let c = rows(&into, columns).offset(d * gates);
            Summed { operands: Operands { a: rows(x, self.size), b: *weight, bias: Some(bias), c }, sums: None }
        });
        let all: Vec<_> = of_directions.collect();
        product.record_all(recorder, matmul::Tile::choose(recorder.gpu(), m), &all)?;
        Ok(into)
    }

    /// Memory for the table's products, or their gradients.
    fn of_table(&self, tokens: &Tokens<'_>, products: &Embedding) -> Result<Tensor> {
        let elements = Tokens::scratch(products.vocabulary, self.columns());
        expect_scratch("gru", tokens.scratch, elements)?;
        tokens.scratch.scratch([products.vocabulary, self.columns()])
    }

    /// Records the gradients.
    pub(super) fn record_backward(
        &self,
        recorder: &mut Recorder,
        backward: &InputBackward<'_>,
        gradients: &InputGradients<'_>,
    ) -> Result<()> {
        let InputBackward { input, weights, d_gi } = *backward;
        let (gates, columns) = (self.gates(), self.columns());
        let d_gi = d_gi.scratch([self.inputs, columns])?;
        let (x, d_products, count) = match input {
            Input::Rows(x) => (x, d_gi, self.inputs),
            Input::Tokens(tokens) => {
                let products = self.products(&tokens)?;
                let of_table = self.of_table(&tokens, &products)?;
                let order = tokens.ordered()?;
                products.record_backward(recorder, order, rows(&d_gi, columns), &of_table)?;
                (tokens.table, of_table, products.vocabulary)
            }
        };
        let by_input = |d: usize| rows(&d_products, columns).offset(d * gates);
        let into_weight = Matmul { m: gates, n: self.size, k: count, batch: 1, transpose_a: true, ..Matmul::default() };
        let of_weights = gradients.weights.iter().enumerate().map(|(d, weights)| Summed {
            operands: Operands { a: by_input(d), b: rows(x, self.size), bias: None, c: weights.weight },
            sums: Some(weights.bias),
        });
        let all: Vec<_> = of_weights.collect();
        into_weight.record_all(recorder, matmul::Tile::choose(recorder.gpu(), gates), &all)?;
        let tile = matmul::Tile::choose(recorder.gpu(), count);
        let into_input =
            |k, accumulate| Matmul { m: count, n: self.size, k, batch: 1, accumulate, ..Matmul::default() };
        if let Some(both) = self.of_both_directions(recorder.gpu(), weights) {
            let of_input = Operands { a: by_input(0), b: rows(&both, self.size), bias: None, c: gradients.input };
            return into_input(columns, gradients.accumulate).record(recorder, tile, &of_input);
        }
        for (d, weights) in weights.iter().enumerate() {
            let of_input = Operands { a: by_input(d), b: weights.weight, bias: None, c: gradients.input };
            into_input(gates, gradients.accumulate || d > 0).record(recorder, tile, &of_input)?;
        }
        Ok(())
    }

    /// The weights of two directions as one matrix `[2*3H, I]`, where they lie so.
    fn of_both_directions(&self, gpu: &Gpu, weights: &[InputWeights<'_>]) -> Option<Tensor> {
        let [forward, backward] = weights else { return None };
        let whole = |weight: &Matrix<'_>| weight.offset == 0 && weight.stride == self.size;
        let both = Tensor::joined(gpu, forward.weight.tensor, backward.weight.tensor, [self.columns(), self.size])?;
        (whole(&forward.weight) && whole(&backward.weight)).then_some(both)
    }
}
