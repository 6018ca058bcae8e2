//! The gated recurrent unit in the form of cuDNN and PyTorch: [`Cell`], one fused step, and [`Gru`], a layer over whole rows.
//!
//! Equations: [`crate::reference::gru`]. What the inputs contribute to the gates is one matmul over all steps, before the loop;
//! the gradients of the weights are one matmul over all steps, after it. What remains is one dispatch a step.
//!
//! Rungs, the 24 forward steps of `[64, 24, 256]` to 256 on lavapipe, two cores (181 GFLOP/s), input product excluded;
//! medians of 10 runs, one build each, on a machine whose figures vary by a tenth:
//!
//! | the tile of one subgroup | ms |
//! |---|---|
//! | 16 rows x 32 columns x 3 gates, each row meets all gates' weights in turn | 19.0 |
//! | the same with 32 rows: loads halve, but the gates' weights do not fit in registers | 17.0 |
//! | 16 rows, one gate after the other | 16.9 |
//! | 32 rows, one gate after the other: 48 registers of weights become 16 | 15.0 |
//!
//! Lost: two tiles of columns backward, weights packed `[H/4, 3H, 4]` before the loop, gates of the input with steps slowest.
//!
//! Of the best, the gates' arithmetic with its loads and stores is about 3 ms.

mod tile;

use tile::Loads;
pub use tile::Tile;
pub(super) use tile::{backwards, forwards};

pub use super::gate_input::{Input, Tokens, WeightGradients, Weights};
use super::{
    copy::{Copy, expect_matrix},
    expect::{expect, expect_scratch, expect_setting},
    gate_input::{GateInput, InputGradients},
    matmul::{self, Matmul, Matrix},
    reduction::ColumnSum,
    table::{GRU, GRU_BACKWARD},
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Tensor},
};

/// One step for some rows: the recurrent product of all three gates and their arithmetic, in one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Rows, R.
    pub rows: usize,
    /// Size of the state, H.
    pub hidden: usize,
}

/// A second part of a cell's input, which differs from step to step, such as an attention's context.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// `[3H, E+V]`, of which the last V columns meet the context.
    pub weight_ih: &'a Tensor,
    /// The first element of the context of row 0, in the tensor of [`CellStep::y`] and with its stride.
    pub offset: usize,
    /// Size of the context, V.
    pub size: usize,
}

/// Which rows of a step are valid: row b while `time < lengths[b]`. The others keep their state and put out 0.
#[derive(Clone, Copy, Debug)]
pub struct Valid<'a> {
    /// `[R]`, u32.
    pub lengths: &'a Tensor,
    /// The position of this step.
    pub time: usize,
}

/// Where a [`Cell`] finds and leaves what.
#[derive(Clone, Copy, Debug)]
pub struct CellStep<'a> {
    /// `[R, 3H]`, what the input (without the context) contributes to the gates, input bias included.
    pub gi: Matrix<'a>,
    /// `[3H, H]`.
    pub weight_hh: &'a Tensor,
    /// `[3H]`.
    pub bias_hh: &'a Tensor,
    /// States, each `[R, H]`, before and after the step: both in one tensor, since a step reads some and writes others.
    pub states: &'a Tensor,
    /// The first element of the states before.
    pub from: usize,
    /// The first element of the states after; they must not overlap those before.
    pub to: usize,
    /// `[R, H]`, a second place for the new states, in another buffer than `states`.
    pub y: Matrix<'a>,
    /// `[R, 4H]`, receives r, z, n and W_hn h + b_hn for the backward pass, from element `gates_offset` on.
    pub gates: &'a Tensor,
    /// As above.
    pub gates_offset: usize,
    /// The second part of the input; with it, every row is valid.
    pub context: Option<Context<'a>>,
    /// Which rows are valid; without it all are.
    pub valid: Option<Valid<'a>>,
}

/// Where a [`Cell`]'s backward finds and leaves what. All offsets are in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellBackward<'a> {
    /// `[K, H]`: W_hh, and below it whatever else was multiplied with the state.
    pub weight: &'a Tensor,
    /// `[R, K]` from each offset on: the gradients of those products; the first 3H columns of `own` are written.
    pub d_recurrent: &'a Tensor,
    /// Those of the next step, if there is one.
    pub next: Option<usize>,
    /// Those of this step.
    pub own: usize,
    /// `[R, 3H]`, the gradient of gi.
    pub d_gi: Matrix<'a>,
    /// `[R, H]`, the gradient of the step's output.
    pub d_y: Matrix<'a>,
    /// The states before the step start at this element.
    pub states: &'a Tensor,
    pub from: usize,
    pub gates: &'a Tensor,
    pub gates_offset: usize,
    /// `[R, H]`: what goes round the gates, from step to step.
    pub carry: &'a Tensor,
    pub carry_offset: usize,
    /// Whether the carry holds anything yet.
    pub has_carry: bool,
    pub valid: Option<Valid<'a>>,
}

impl Cell {
    /// Operations and bytes of a step with a context of `context` elements.
    pub fn cost(&self, context: usize) -> Cost {
        let (rows, hidden, inner) = (self.rows as f64, self.hidden as f64, (self.hidden + context) as f64);
        Cost {
            operations: rows * hidden * (6.0 * inner + 40.0),
            // Two exponentials and three divisions.
            transcendental: 5.0 * rows * hidden,
            read: ELEMENT as f64 * (rows * (inner + 3.0 * hidden) + 3.0 * hidden * inner),
            written: ELEMENT as f64 * 6.0 * rows * hidden,
        }
    }

    /// Operations and bytes of a step's backward; `inner` products of each state element, 0 after the last step.
    fn backward_cost(&self, inner: usize) -> Cost {
        let (rows, hidden, inner) = (self.rows as f64, self.hidden as f64, inner as f64);
        Cost {
            operations: rows * hidden * (2.0 * inner + 22.0),
            transcendental: 0.0,
            read: ELEMENT as f64 * (rows * (inner + 7.0 * hidden) + hidden * inner),
            written: ELEMENT as f64 * 7.0 * rows * hidden,
        }
    }

    /// Records the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not hold what the sizes ask for, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, tile: Tile, step: &CellStep<'_>) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellStep { gi, weight_hh, bias_hh, states, from, to, y, gates, gates_offset, context, valid } = *step;
        let run = |tensor, offset, columns| Matrix { tensor, offset, stride: columns, batch_stride: 0 };
        expect_matrix("gru", "gi", &gi, [1, rows, 3 * hidden])?;
        expect("gru", "weight_hh", weight_hh, &[3 * hidden, hidden])?;
        expect("gru", "bias_hh", bias_hh, &[3 * hidden])?;
        expect_matrix("gru", "states", &run(states, from, hidden), [1, rows, hidden])?;
        expect_matrix("gru", "states", &run(states, to, hidden), [1, rows, hidden])?;
        let apart = from.abs_diff(to);
        expect_setting("gru", "states", apart >= rows * hidden, "apart from each other", apart as f64)?;
        expect_matrix("gru", "y", &y, [1, rows, hidden])?;
        expect_matrix("gru", "gates", &run(gates, gates_offset, 4 * hidden), [1, rows, 4 * hidden])?;
        expect_valid(rows, valid.as_ref())?;
        let mut extents = [hidden, gi.offset, gi.stride, from, to, y.offset, y.stride, gates_offset].to_vec();
        let mut second = [0; 4];
        if let Some(context) = &context {
            let width = context.weight_ih.elements() / (3 * hidden);
            let word = width.checked_sub(context.size).filter(|_| width * 3 * hidden == context.weight_ih.elements());
            expect_setting("gru", "context", word.is_some(), "columns of weight_ih", context.size as f64)?;
            expect_matrix("gru", "context", &Matrix { offset: context.offset, ..y }, [1, rows, context.size])?;
            second = [context.size, context.offset, word.unwrap_or(0), width];
            extents.extend(second);
        }
        let fourth = match (&context, &valid) {
            (Some(context), _) => context.weight_ih,
            (None, Some(valid)) => valid.lengths,
            (None, None) => bias_hh,
        };
        let masked = usize::from(valid.is_some());
        let time = valid.as_ref().map_or(0, |valid| valid.time);
        let mut params = [rows, hidden, gi.offset, gi.stride, from, to, y.offset, y.stride].map(|v| v as u32).to_vec();
        params.extend([gates_offset, masked, time].into_iter().chain(second).map(|value| value as u32));
        // Only the weights are read by the eight.
        let wide =
            recorder.gpu().tiles().wide && [hidden, second[0], second[2], second[3]].iter().all(|size| size % 8 == 0);
        let loads = match extents.iter().all(|extent| extent % 4 == 0) {
            true if wide => Loads::Eight,
            true => Loads::Four,
            false => Loads::Single,
        };
        recorder.dispatch(&Launch {
            kernel: &GRU,
            specialisation: tile.forward(loads, context.is_some()),
            params: &params,
            tensors: &[gi.tensor, weight_hh, bias_hh, fourth, states, y.tensor, gates],
            workgroups: tile.workgroups(rows, hidden, tile.rows),
            cost: self.cost(second[0]),
        })
    }

    /// Records the gradients of a step's gates. `K` columns of `d_recurrent`, of which the first 3H are the gates'.
    pub(super) fn record_backward(&self, recorder: &mut Recorder, tile: Tile, step: &CellBackward<'_>) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellBackward { weight, d_recurrent, next, own, d_gi, d_y, states, from, gates, gates_offset, .. } = *step;
        let CellBackward { carry, carry_offset, has_carry, valid, .. } = *step;
        let inner = weight.elements() / hidden.max(1);
        let run = |tensor, offset, columns| Matrix { tensor, offset, stride: columns, batch_stride: 0 };
        expect("gru", "weight", weight, &[inner.max(3 * hidden), hidden])?;
        for offset in [next.unwrap_or(own), own] {
            expect_matrix("gru", "d_recurrent", &run(d_recurrent, offset, inner), [1, rows, inner])?;
        }
        expect_matrix("gru", "d_gi", &d_gi, [1, rows, 3 * hidden])?;
        expect_matrix("gru", "d_y", &d_y, [1, rows, hidden])?;
        expect_matrix("gru", "states", &run(states, from, hidden), [1, rows, hidden])?;
        expect_matrix("gru", "gates", &run(gates, gates_offset, 4 * hidden), [1, rows, 4 * hidden])?;
        expect_matrix("gru", "carry", &run(carry, carry_offset, hidden), [1, rows, hidden])?;
        expect_valid(rows, valid.as_ref())?;
        let extents = [
            [hidden, inner, next.unwrap_or(own), own, d_gi.offset, d_gi.stride],
            [d_y.offset, d_y.stride, from, gates_offset, carry_offset, 0],
        ];
        let vector = extents.iter().flatten().all(|extent| extent % 4 == 0);
        let product = if next.is_some() { inner } else { 0 };
        let time = valid.as_ref().map_or(0, |valid| valid.time);
        let params = [
            [rows, hidden, product, next.unwrap_or(own)],
            [own, inner, d_gi.offset, d_gi.stride],
            [d_y.offset, d_y.stride, from, gates_offset],
            [carry_offset, usize::from(has_carry), usize::from(valid.is_some()), time],
        ];
        recorder.dispatch(&Launch {
            kernel: &GRU_BACKWARD,
            specialisation: tile.backward(vector),
            params: &params.concat().iter().map(|value| *value as u32).collect::<Vec<_>>(),
            tensors: &[
                weight,
                valid.as_ref().map_or(weight, |valid| valid.lengths),
                d_y.tensor,
                states,
                gates,
                d_recurrent,
                d_gi.tensor,
                carry,
            ],
            workgroups: tile.workgroups(rows, hidden, tile.backward_rows),
            cost: self.backward_cost(product),
        })
    }
}

fn expect_valid(rows: usize, valid: Option<&Valid<'_>>) -> Result<()> {
    valid.map_or(Ok(()), |valid| expect("gru", "lengths", valid.lengths, &[rows]))
}

/// One layer over whole rows, in one or two directions; rows are packed sequences, as in [`crate::reference::gru::Gru`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gru {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps of each row, S, masked ones included.
    pub steps: usize,
    /// Size of one input, I.
    pub input: usize,
    /// Size of the hidden state, H.
    pub hidden: usize,
    /// 1 (forward) or 2 (forward, then reverse), D.
    pub directions: usize,
}

/// What [`Gru`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, S, I]`, or the table `[V, I]` and the tokens `[B, S]`. What lies beyond a row's length has no effect.
    pub x: Input<'a>,
    /// `[D, B, H]`; the backward pass does not read it.
    pub h0: &'a Tensor,
    /// `[B]`, u32, at most S.
    pub lengths: &'a Tensor,
    /// One per direction.
    pub weights: &'a [Weights<'a>],
}

/// What [`Gru::record`] computes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, S, D*H]`, the hidden states, directions side by side; 0 beyond a row's length.
    pub y: &'a Tensor,
    /// `[D, B, H]`, the state after the last valid step.
    pub hn: &'a Tensor,
}

/// What the forward pass leaves to the backward pass, in the order in which each direction visits the steps.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// `[D, S+1, B, H]`, the states before each step and after the last.
    pub states: &'a Tensor,
    /// `[D, S, B, 4H]`: r, z, n and W_hn h + b_hn.
    pub gates: &'a Tensor,
}

/// Gradients: y and hn come in, the others go out, overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, S, D*H]`, read. What lies beyond a row's length has no effect.
    pub y: &'a Tensor,
    /// `[D, B, H]`, read.
    pub hn: &'a Tensor,
    /// `[B, S, I]`, or of the table `[V, I]`.
    pub x: &'a Tensor,
    /// `[D, B, H]`.
    pub h0: &'a Tensor,
    /// One per direction.
    pub weights: &'a [WeightGradients<'a>],
}

impl Gru {
    /// The shape of [`Saved::states`].
    pub fn states_shape(&self) -> [usize; 4] {
        [self.directions, self.steps + 1, self.batch, self.hidden]
    }

    /// The shape of [`Saved::gates`].
    pub fn gates_shape(&self) -> [usize; 4] {
        [self.directions, self.steps, self.batch, 4 * self.hidden]
    }

    /// Elements of the forward pass's scratch.
    pub fn scratch(&self) -> usize {
        self.batch * self.steps * 3 * self.hidden
    }

    /// Elements of the backward pass's four scratch tensors, each in a buffer of its own.
    pub fn backward_scratch(&self) -> [usize; 4] {
        let gates = self.batch * self.steps * 3 * self.hidden;
        [gates, gates, self.batch * self.steps * self.input, self.bias_sum().scratch()]
    }

    fn bias_sum(&self) -> ColumnSum {
        ColumnSum { rows: self.batch * self.steps, columns: 3 * self.hidden }
    }

    fn cell(&self) -> Cell {
        Cell { rows: self.batch, hidden: self.hidden }
    }

    fn gate_input(&self) -> GateInput {
        GateInput { inputs: self.batch * self.steps, size: self.input, hidden: self.hidden }
    }

    /// The position that direction `d` visits in its step number `i`.
    fn time(&self, d: usize, i: usize) -> usize {
        if d == 0 { i } else { self.steps - 1 - i }
    }

    /// Direction `d` at position `time` in y or its gradient.
    fn of_y<'a>(&self, y: &'a Tensor, d: usize, time: usize) -> Matrix<'a> {
        let width = self.directions * self.hidden;
        Matrix { tensor: y, offset: time * width + d * self.hidden, stride: self.steps * width, batch_stride: 0 }
    }

    /// Position `time` in gi or its gradient.
    fn of_gi<'a>(&self, gi: &'a Tensor, time: usize) -> Matrix<'a> {
        let width = 3 * self.hidden;
        Matrix { tensor: gi, offset: time * width, stride: self.steps * width, batch_stride: 0 }
    }

    fn check(&self, inputs: &Inputs<'_>, saved: &Saved<'_>) -> Result<()> {
        let valid = matches!(self.directions, 1 | 2);
        expect_setting("gru", "directions", valid, "1 or 2", self.directions as f64)?;
        if let Input::Rows(x) = inputs.x {
            expect("gru", "x", x, &[self.batch, self.steps, self.input])?;
        }
        expect("gru", "lengths", inputs.lengths, &[self.batch])?;
        expect("gru", "states", saved.states, &self.states_shape())?;
        expect("gru", "gates", saved.gates, &self.gates_shape())?;
        let valid = inputs.weights.len() == self.directions;
        expect_setting("gru", "weights", valid, "one per direction", inputs.weights.len() as f64)?;
        inputs.weights.iter().try_for_each(|weights| weights.expect("gru", self.input, self.hidden))
    }

    /// Records y and hn, and what the backward pass needs. `scratch` has [`Gru::scratch`] elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        saved: &Saved<'_>,
        scratch: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, input, hidden, directions } = *self;
        self.check(inputs, saved)?;
        expect("gru", "h0", inputs.h0, &[directions, batch, hidden])?;
        expect("gru", "y", outputs.y, &[batch, steps, directions * hidden])?;
        expect("gru", "hn", outputs.hn, &[directions, batch, hidden])?;
        expect_scratch("gru", scratch, self.scratch())?;
        let state = batch * hidden;
        let copy = Copy { rows: batch, columns: hidden, batch: directions };
        let ends = |tensor, batch_stride| Matrix { tensor, offset: 0, stride: hidden, batch_stride };
        let states = ends(saved.states, (steps + 1) * state);
        copy.record(recorder, ends(inputs.h0, state), None, states)?;
        for (d, weights) in inputs.weights.iter().enumerate() {
            let weight_ih = Matrix::rows(weights.weight_ih).stride(input);
            self.gate_input().record(recorder, &inputs.x, weight_ih, weights.bias_ih, scratch)?;
            for i in 0..steps {
                let time = self.time(d, i);
                let from = (d * (steps + 1) + i) * state;
                let step = CellStep {
                    gi: self.of_gi(scratch, time),
                    weight_hh: weights.weight_hh,
                    bias_hh: weights.bias_hh,
                    states: saved.states,
                    from,
                    to: from + state,
                    y: self.of_y(outputs.y, d, time),
                    gates: saved.gates,
                    gates_offset: (d * steps + i) * 4 * state,
                    context: None,
                    valid: Some(Valid { lengths: inputs.lengths, time }),
                };
                self.cell().record(recorder, tile, &step)?;
            }
        }
        copy.record(recorder, states.offset(steps * state), None, ends(outputs.hn, state))
    }

    /// Records the gradients. `scratch` are tensors of [`Gru::backward_scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        scratch: [&Tensor; 4],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, input, hidden, directions } = *self;
        self.check(inputs, saved)?;
        expect("gru", "d_y", gradients.y, &[batch, steps, directions * hidden])?;
        expect("gru", "d_hn", gradients.hn, &[directions, batch, hidden])?;
        let x_shape = match &inputs.x {
            Input::Rows(_) => vec![batch, steps, input],
            Input::Tokens(tokens) => vec![tokens.table.elements() / input.max(1), input],
        };
        expect("gru", "d_x", gradients.x, &x_shape)?;
        expect("gru", "d_h0", gradients.h0, &[directions, batch, hidden])?;
        let given = gradients.weights.len();
        expect_setting("gru", "d_weights", given == directions, "one per direction", given as f64)?;
        gradients.weights.iter().try_for_each(|weights| weights.expect("gru", input, hidden))?;
        for (scratch, elements) in scratch.into_iter().zip(self.backward_scratch()) {
            expect_scratch("gru", scratch, elements)?;
        }
        let [d_gh, d_gi, valid_x, sums] = scratch;
        let gpu = recorder.gpu().clone();
        let (state, rows) = (batch * hidden, batch * steps);
        let run = |tensor, offset, stride| Matrix { tensor, offset, stride, batch_stride: 0 };

        // The gradient of the state goes from step to step in d_h0.
        let copy = Copy { rows: directions * batch, columns: hidden, batch: 1 };
        copy.record(recorder, run(gradients.hn, 0, hidden), None, run(gradients.h0, 0, hidden))?;
        let mut x = inputs.x;
        if let Input::Rows(rows) = inputs.x {
            // A NaN in the padding of x must not meet the zeros in d_gi.
            let of_x = |tensor| Matrix { tensor, offset: 0, stride: input, batch_stride: steps * input };
            let copy = Copy { rows: steps, columns: input, batch };
            copy.record(recorder, of_x(rows), Some(inputs.lengths), of_x(valid_x))?;
            x = Input::Rows(valid_x);
        }

        for (d, (weights, d_weights)) in inputs.weights.iter().zip(gradients.weights).enumerate() {
            for i in (0..steps).rev() {
                let time = self.time(d, i);
                let step = CellBackward {
                    weight: weights.weight_hh,
                    d_recurrent: d_gh,
                    next: (i + 1 < steps).then_some((i + 1) * 3 * state),
                    own: i * 3 * state,
                    d_gi: self.of_gi(d_gi, time),
                    d_y: self.of_y(gradients.y, d, time),
                    states: saved.states,
                    from: (d * (steps + 1) + i) * state,
                    gates: saved.gates,
                    gates_offset: (d * steps + i) * 4 * state,
                    carry: gradients.h0,
                    carry_offset: d * state,
                    has_carry: true,
                    valid: Some(Valid { lengths: inputs.lengths, time }),
                };
                self.cell().record_backward(recorder, tile, &step)?;
            }
            let gates = 3 * hidden;
            let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
            let choose = |m| matmul::Tile::choose(&gpu, m);
            let into_h0 = Matmul { accumulate: true, ..product(batch, hidden, gates) };
            let (by_state, weight_hh) = (run(d_gh, 0, gates), run(weights.weight_hh, 0, hidden));
            let d_h0 = run(gradients.h0, d * state, hidden);
            into_h0.record(recorder, choose(batch), by_state, weight_hh, None, d_h0)?;

            let into_weight_hh = Matmul { transpose_a: true, ..product(gates, hidden, rows) };
            let states = run(saved.states, d * (steps + 1) * state, hidden);
            let d_weight_hh = run(d_weights.weight_hh, 0, hidden);
            into_weight_hh.record(recorder, choose(gates), by_state, states, None, d_weight_hh)?;

            self.bias_sum().record(recorder, &d_gh.window([rows, gates]), sums, d_weights.bias_hh)?;
            let of_input = InputGradients {
                weight: run(d_weights.weight_ih, 0, input),
                bias: d_weights.bias_ih,
                input: run(gradients.x, 0, input),
                accumulate: d > 0,
            };
            let weight_ih = run(weights.weight_ih, 0, input);
            self.gate_input().record_backward(recorder, &x, weight_ih, d_gi, sums, &of_input)?;
        }
        Ok(())
    }
}
