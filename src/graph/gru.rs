//! Gated recurrent layers: [`crate::kernels::gru`] as nodes.

use super::{
    Context, Graph, InPlace, Operation, Part, Source, Value,
    operands::{operands, split},
    select::copy,
};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::{
        embedding::Embedding,
        gru::{self, Gradients, Gru, Input, Inputs, Outputs, Saved, Tile, Tokens, Weights},
    },
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

operands! { Cell { weight_ih, weight_hh, bias_ih, bias_hh } }

impl From<GruWeights> for Cell<Value> {
    fn from(weights: GruWeights) -> Self {
        let GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = weights;
        Self { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}

impl<'a> Cell<&'a Tensor> {
    pub(super) fn weights(self) -> Weights<'a> {
        let Self { weight_ih, weight_hh, bias_ih, bias_hh } = self;
        Weights { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}

/// The input sequence of a GRU layer.
#[derive(Clone, Copy, Debug)]
pub enum GruInput {
    /// `[B, S, I]`
    Rows(Value),
    /// The rows of a table that tokens name, as [`Graph::embedding`] would return them, without making them: the table is
    /// multiplied with the weights, and tokens pick from the product. It pays where the table is small.
    Tokens {
        /// `[V, I]`
        table: Value,
        /// `[B, S]`; for a gradient an input that is written, or a constant, as in [`Graph::embedding`].
        tokens: Value,
    },
}

impl From<Value> for GruInput {
    fn from(x: Value) -> Self {
        Self::Rows(x)
    }
}

/// A [`GruInput`] that is what it should be.
pub(super) struct Sequence {
    /// The rows, or the table.
    pub x: Value,
    pub tokens: Option<Value>,
    /// Rows of the table, V.
    pub vocabulary: Option<usize>,
    /// B, S and I.
    pub extents: [usize; 3],
}

/// Operands after the inputs that every layer has.
struct Rest<'a, T> {
    /// The weights of the cells, one direction after the other.
    cells: &'a [T],
    mask: Option<&'a T>,
    /// The tokens, and in the backward their order.
    tokens: &'a [T],
}

/// A layer, and the rows V of its table if its inputs are tokens.
#[derive(Clone, Copy, Debug)]
struct Layer {
    gru: Gru,
    vocabulary: Option<usize>,
    /// Whether its states begin with zeros.
    from_zeros: bool,
}

impl Layer {
    /// Scratch for an input given as tokens.
    fn scratch(&self) -> Vec<(Shape, Dtype)> {
        let Gru { hidden, directions, .. } = self.gru;
        self.vocabulary.map_or(vec![], |vocabulary| vec![token_scratch(vocabulary, directions * 3 * hidden)])
    }

    /// The number of weights.
    fn weights(&self) -> usize {
        Cell::<Value>::COUNT * self.gru.directions
    }

    fn rest<'a, T>(&self, operands: &'a [T]) -> Result<Rest<'a, T>> {
        let (cells, more) = split(operands, self.weights())?;
        let (mask, tokens) = split(more, usize::from(self.gru.masked))?;
        Ok(Rest { cells, mask: mask.first(), tokens })
    }

    /// The kernel's input from `x`, or the table and the tokens.
    fn input<'a>(&self, x: &'a Tensor, tokens: &'a [Tensor], scratch: &'a Tensor) -> Input<'a> {
        match tokens {
            [tokens, order @ ..] => Input::Tokens(Tokens { table: x, tokens, scratch, order: order.first() }),
            [] => Input::Rows(x),
        }
    }
}

/// Shape and type of [`Tokens::scratch`].
pub(super) fn token_scratch(vocabulary: usize, gates: usize) -> (Shape, Dtype) {
    ([Tokens::scratch(vocabulary, gates)].into(), Dtype::F32)
}

/// The tokens by which a backward pass knows the rows of a table, and how: [`Graph::order_of`].
pub(super) fn order(graph: &mut Graph, tokens: Value, vocabulary: usize) -> Result<Value> {
    let count = graph.shape(tokens).elements();
    graph.order_of(tokens, Embedding { vocabulary, size: 1, tokens: count, padding: None })
}

operands! {
    /// `x` may be the table. [`Rest`] follows.
    ForwardInputs { x, h0, lengths }
}
operands! {
    /// The last states of each direction follow, then scratch of [`Tokens`] where there are any.
    ForwardOutputs { y, states, gates, scratch }
}
operands! {
    /// Operands of the backward after [`ForwardInputs`]; the gradients of last states follow, of those directions that have them, then
    /// [`Rest`], and the order of the tokens, if there are any.
    BackwardInputs { states, gates, d_y }
}
operands! {
    /// Gradients of the inputs; those of [`Rest::cells`] follow, then [`BackwardScratch`].
    BackwardOutputs { d_h0, d_x }
}
operands! {
    /// Scratch of [`Tokens`] follows where there are any.
    BackwardScratch { first, second, third }
}

/// The number of the states among [`ForwardOutputs`].
const STATES: usize = 1;

#[derive(Debug)]
struct Forward(Layer);

#[derive(Debug)]
struct Backward {
    layer: Layer,
    /// By direction, whether its last states have a gradient, which becomes that of the first.
    ends: Vec<bool>,
}

impl Backward {
    /// The directions whose last states have a gradient, each with the number of that operand.
    fn ending(&self) -> impl Iterator<Item = (usize, usize)> {
        let first = ForwardInputs::<Value>::COUNT + BackwardInputs::<Value>::COUNT;
        let directions = self.ends.iter().enumerate().filter(|(_, ends)| **ends);
        directions.enumerate().map(move |(number, (direction, _))| (direction, first + number))
    }

    /// The element of the gradient of h0 at which a direction's begins.
    fn begin(&self, direction: usize) -> usize {
        direction * self.layer.gru.batch * self.layer.gru.hidden
    }
}

impl Graph {
    /// One GRU layer over a sequence (Cho et al. 2014, in the form of cuDNN and PyTorch: reset applied after the recurrent
    /// product) in one or two directions: `x` `[B, S, I]` or tokens, `h0` `[D, B, H]`, `lengths` `[B]`. Returns the states
    /// `[B, S, D·H]`, 0 past a row's length, and the last states of each direction, `[1, B, H]`: [`Graph::stacked`] puts them together.
    ///
    /// `mask` `[D, B, H]` multiplies the state where it enters the recurrent product, at every step the same, and has no
    /// gradient: [`Graph::dropout`] of ones `[B, D, H]`, permuted, makes it variational dropout ([`crate::kernels::gru::Masking`]).
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
    ) -> Result<(Value, Vec<Value>)> {
        const NAME: &str = "gru";
        let dtype = self.dtype(h0).activation();
        let Sequence { x, tokens, vocabulary, extents } = self.expect_sequence(NAME, x.into(), dtype)?;
        let [batch, steps, input] = extents;
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
        let mut inputs = ForwardInputs { x, h0, lengths }.list();
        for weights in weights {
            self.expect_cell(NAME, weights, input, hidden)?;
            inputs.extend(Cell::from(*weights).list());
        }
        if let Some(mask) = mask {
            self.expect(NAME, "mask", mask, dtype, [Some(directions), Some(batch), Some(hidden)])?;
        }
        inputs.extend(mask);
        inputs.extend(tokens);
        let gru = Gru { batch, steps, input, hidden, directions, masked: mask.is_some() };
        let layer = Layer { gru, vocabulary, from_zeros: self.values[h0.0].source == Source::Filled(0.0) };
        let shapes: [Shape; ForwardOutputs::<Value>::COUNT] = [
            [batch, steps, directions * hidden].into(),
            gru.states_shape().into(),
            gru.gates_shape().into(),
            [gru.scratch(vocabulary.is_some())].into(),
        ];
        let last = vec![[1, batch, hidden].into(); directions];
        let made = shapes.into_iter().chain(last).map(|shape| (shape, dtype)).chain(layer.scratch());
        let outputs = self.push_as(Forward(layer), &inputs, made);
        let (ForwardOutputs { y, .. }, rest) = ForwardOutputs::first_of(&outputs)?;
        let (last, _) = split(rest, directions)?;
        Ok((*y, last.to_vec()))
    }

    /// Values of one shape `[1, ..]`, such as the last states of two directions, as one `[D, ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`], also if there are none.
    pub fn stacked(&mut self, parts: &[Value]) -> Result<Value> {
        let [first, _, ..] = parts else { return self.concatenate(parts) };
        let mut shape = self.dims(*first).to_vec();
        let rows = |graph: &mut Self, part: &Value| graph.reshape(*part, [1, graph.shape(*first).elements()]);
        let rows = parts.iter().map(|part| rows(self, part)).collect::<Result<Vec<_>>>()?;
        let whole = self.concatenate(&rows)?;
        if let Some(extent) = shape.first_mut() {
            *extent *= parts.len();
        }
        self.reshape(whole, shape.as_slice())
    }

    /// Checks an input sequence.
    pub(super) fn expect_sequence(&self, operation: &'static str, x: GruInput, dtype: Dtype) -> Result<Sequence> {
        match x {
            GruInput::Rows(x) => {
                let extents = self.expect(operation, "x", x, dtype, [None; 3])?;
                Ok(Sequence { x, tokens: None, vocabulary: None, extents })
            }
            GruInput::Tokens { table, tokens } => {
                let [vocabulary, input] = self.expect(operation, "table", table, Dtype::F32, [None; 2])?;
                let [batch, steps] = self.expect(operation, "tokens", tokens, Dtype::U32, [None; 2])?;
                let extents = [batch, steps, input];
                Ok(Sequence { x: table, tokens: Some(tokens), vocabulary: Some(vocabulary), extents })
            }
        }
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

/// The weights of each direction.
fn directions(cells: &[Tensor]) -> Result<Vec<Weights<'_>>> {
    cells.chunks(Cell::<Tensor>::COUNT).map(|cell| Ok(Cell::of(cell)?.weights())).collect()
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (ForwardInputs { x, h0, lengths }, rest) = ForwardInputs::first_of(context.inputs)?;
        let Rest { cells, mask, tokens } = self.0.rest(rest)?;
        let (outputs, rest) = ForwardOutputs::first_of(context.outputs)?;
        let ForwardOutputs { y, states, gates, scratch } = outputs;
        let Layer { gru, from_zeros, .. } = self.0;
        let (last, of_table) = split(rest, gru.directions)?;
        // Of one direction the first states have been put where the states begin.
        let begin = states.part(0, [1, gru.batch, gru.hidden], states.dtype())?;
        let begin = Some(&begin).filter(|_| gru.directions == 1);
        let h0 = begin.or(Some(h0)).filter(|_| !from_zeros);
        let tile = Tile::choose(recorder.gpu(), [gru.batch, gru.hidden], gru.directions);
        let inputs = Inputs {
            x: self.0.input(x, tokens, of_table.first().unwrap_or(scratch)),
            h0,
            lengths,
            weights: &directions(cells)?,
            mask,
        };
        gru.record(recorder, tile, &inputs, &Outputs { y, saved: Saved { states, gates } }, scratch)?;
        for (direction, (last, part)) in last.iter().zip(self.parts()).enumerate() {
            let is_read = context.read.get(part.output).is_none_or(|read| *read);
            if is_read && !last.overlaps(states) {
                copy(recorder, (states, gru.last(direction)), (last, 0), last.elements())?;
            }
        }
        Ok(())
    }

    fn in_place(&self) -> Option<InPlace> {
        // h0 where the states begin.
        let alone = self.0.gru.directions == 1 && !self.0.from_zeros;
        alone.then_some(InPlace { input: 1, output: STATES, offset: 0, keeps: true })
    }

    fn parts(&self) -> Vec<Part> {
        let gru = &self.0.gru;
        let part = |direction| {
            let output = ForwardOutputs::<Value>::COUNT + direction;
            Part { output, of: STATES, offset: gru.last(direction) }
        };
        (0..gru.directions).map(part).collect()
    }

    fn zero_past(&self) -> Option<usize> {
        // Lengths follow x and h0.
        Some(2)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let (ForwardInputs { x, h0, .. }, rest) = ForwardInputs::first_of(inputs)?;
        let Rest { cells, mask, tokens } = self.0.rest(rest)?;
        let (ForwardOutputs { y, states, gates, .. }, _) = ForwardOutputs::first_of(outputs)?;
        let d_y = upstream[0].unwrap_or_else(|| graph.zeros_like(*y));
        let forward = &inputs[..ForwardInputs::<Value>::COUNT];
        let mut saved = BackwardInputs { states: *states, gates: *gates, d_y }.list();
        let (_, d_last) = split(upstream, ForwardOutputs::<Value>::COUNT)?;
        let (d_last, _) = split(d_last, self.0.gru.directions)?;
        saved.extend(d_last.iter().flatten());
        let ends = d_last.iter().map(Option::is_some).collect();
        let mut made: Vec<_> = [h0, x].into_iter().chain(cells).map(|input| graph.like(*input)).collect();
        let scratch = self.0.gru.backward_scratch(graph.dtype(*h0));
        made.extend(scratch.map(|(elements, dtype)| (Shape::from([elements]), dtype)));
        made.extend(self.0.scratch());
        let mut from = [forward, &saved, rest].concat();
        if let (Some(tokens), Some(vocabulary)) = (tokens.first(), self.0.vocabulary) {
            from.push(order(graph, *tokens, vocabulary)?);
        }
        let gradients = graph.push_as(Backward { layer: self.0, ends }, &from, made);
        let (BackwardOutputs { d_h0, d_x }, d_rest) = BackwardOutputs::first_of(&gradients)?;
        let (d_cells, _) = split(d_rest, cells.len())?;
        let without = mask.into_iter().chain(tokens).map(|_| None);
        let of_forward = [Some(*d_x), Some(*d_h0), None];
        Ok(of_forward.into_iter().chain(d_cells.iter().copied().map(Some)).chain(without).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (ForwardInputs { x, h0, lengths }, rest) = ForwardInputs::first_of(context.inputs)?;
        let (BackwardInputs { states, gates, d_y }, rest) = BackwardInputs::first_of(rest)?;
        let (_, rest) = split(rest, self.ending().count())?;
        let layer = &self.layer;
        let Rest { cells, mask, tokens } = layer.rest(rest)?;
        let (BackwardOutputs { d_h0, d_x }, rest) = BackwardOutputs::first_of(context.outputs)?;
        let (d_cells, rest) = split(rest, layer.weights())?;
        let (BackwardScratch { first, second, third }, more) = BackwardScratch::first_of(rest)?;
        let gru = layer.gru;
        let tile = Tile::choose(recorder.gpu(), [gru.batch, gru.hidden], gru.directions);
        let x = layer.input(x, tokens, more.first().unwrap_or(first));
        let inputs = Inputs { x, h0: Some(h0), lengths, weights: &directions(cells)?, mask };
        // The first of these gradients has been put where that of h0 goes.
        for (direction, operand) in self.ending().skip(1) {
            let d_last = &context.inputs[operand];
            copy(recorder, (d_last, 0), (d_h0, self.begin(direction)), d_last.elements())?;
        }
        // The gradient of a state that is a constant is nobody's.
        let into_h0 = context.read.first().is_none_or(|read| *read);
        let backward = gru::Backward { inputs, saved: Saved { states, gates }, d_y, ends: &self.ends, into_h0 };
        let gradients = Gradients { x: d_x, h0: d_h0, weights: &directions(d_cells)? };
        gru.record_backward(recorder, tile, &backward, [first, second, third], &gradients)
    }

    fn in_place(&self) -> Option<InPlace> {
        let (direction, input) = self.ending().next()?;
        Some(InPlace { offset: self.begin(direction), ..InPlace::over(input) })
    }
}
