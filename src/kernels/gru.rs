//! The gated recurrent unit in the form of cuDNN and PyTorch: [`Cell`], one fused step, and [`Gru`], a layer over whole rows.
//!
//! Equations: [`crate::reference::gru`]. What the inputs contribute to the gates is one matmul over all steps, before the loop;
//! the gradients of the weights are one matmul over all steps, after it. What remains is one dispatch a step, for both
//! directions if one binding holds the weights of both, as it does for those of a model.
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

mod cell;
mod dropout;
mod tile;

pub use cell::{Cell, CellStep, Context, Masking, Picks, Valid};
pub(super) use cell::{CellBackward, GRU, GRU_BACKWARD};
pub(super) use dropout::{StateDropout, kept_states};
pub use tile::Tile;

pub use super::gate_input::{Input, Tokens, WeightGradients, Weights};
use super::{
    copy::Copy,
    expect::{expect, expect_extents, expect_of, expect_scratch_of, expect_setting},
    gate_input::{GateInput, InputBackward, InputGradients, InputWeights},
    matmul::{self, Matmul, Matrix, Operands, Summed},
};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Tensor, product},
};

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
    /// Whether there is a mask on the states, [`Inputs::mask`].
    pub masked: bool,
}

/// What [`Gru`] reads. Weights and biases are f32, with their gradients, and so is a table of inputs; all else is of one type, which
/// may be f16.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, S, I]`, or the table `[V, I]` and the tokens `[B, S]`. What lies beyond a row's length has no effect.
    pub x: Input<'a>,
    /// `[D, B, H]`, zeros if there is none; of one direction it may lie where the states begin. The backward pass does not read it.
    pub h0: Option<&'a Tensor>,
    /// `[B]`, u32, at most S.
    pub lengths: &'a Tensor,
    /// One per direction.
    pub weights: &'a [Weights<'a>],
    /// `[D, B, H]`, what the state is multiplied with where it enters the recurrent product, the same at all steps: [`Masking`].
    pub mask: Option<&'a Tensor>,
}

/// The outputs of [`Gru::record`].
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, S, D*H]`, the hidden states, directions side by side; 0 beyond a row's length.
    pub y: &'a Tensor,
    /// For the backward pass.
    pub saved: Saved<'a>,
}

/// What the forward pass leaves to the backward pass, in the order in which each direction visits the steps.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// `[D, S+1, B, H]`, the states before each step and after the last, where that of the last valid one is ([`Gru::last`]); with a mask `[D, 2(S+1)+1, B, H]`, their products with
    /// it behind them, then the mask.
    pub states: &'a Tensor,
    /// `[D, S, B, 4H]`: r, z, n and W_hn h + b_hn.
    pub gates: &'a Tensor,
}

impl Saved<'_> {
    fn dtype(&self) -> Dtype {
        self.states.dtype().activation()
    }
}

/// The inputs of [`Gru::record_backward`].
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The forward pass's.
    pub inputs: Inputs<'a>,
    /// The forward pass's.
    pub saved: Saved<'a>,
    /// `[B, S, D*H]`. What lies beyond a row's length has no effect.
    pub d_y: &'a Tensor,
    /// By direction, whether the gradient of its last states lies where that of h0 goes. Without, nothing does.
    pub ends: &'a [bool],
    /// Whether the gradient of h0 is wanted. Without, its tensor holds what is no gradient at the end.
    pub into_h0: bool,
}

/// The gradients of [`Inputs`]; each is overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, S, I]`, or of the table `[V, I]`.
    pub x: &'a Tensor,
    /// `[D, B, H]`; it carries the gradient of the state from step to step.
    pub h0: &'a Tensor,
    /// One per direction.
    pub weights: &'a [WeightGradients<'a>],
}

/// Tensors of the backward pass that hold nothing before or after it.
pub const BACKWARD_SCRATCH: usize = 3;

impl Gru {
    /// The shape of [`Saved::states`].
    pub fn states_shape(&self) -> [usize; 4] {
        [self.directions, kept_states(self.steps, self.masked), self.batch, self.hidden]
    }

    /// The shape of [`Saved::gates`].
    pub fn gates_shape(&self) -> [usize; 4] {
        [self.directions, self.steps, self.batch, 4 * self.hidden]
    }

    /// The first element of a direction's last states among all.
    pub fn last(&self, direction: usize) -> usize {
        self.states_of(direction) + self.steps * self.batch * self.hidden
    }

    /// Elements of the forward pass's scratch, by whether its inputs are given as tokens, whose products have memory of their own.
    pub fn scratch(&self, by_token: bool) -> usize {
        let masked = if self.masked { product(&[self.directions, self.batch, self.hidden]) } else { 0 };
        if by_token { masked } else { product(&[self.batch, self.steps, self.columns()]).max(masked) }
    }

    /// Elements and types of the backward pass's scratch tensors, each in a buffer of its own.
    pub fn backward_scratch(&self, dtype: Dtype) -> [(usize, Dtype); BACKWARD_SCRATCH] {
        let Self { batch, steps, input, masked, .. } = *self;
        let (gates, inputs) = (product(&[batch, steps, self.columns()]), product(&[batch, steps, input]));
        let one_more = if masked { product(&[batch, self.columns()]) } else { 0 };
        [(gates.saturating_add(one_more), dtype), (gates, dtype), (inputs, dtype)]
    }

    /// The gates' columns of all directions, side by side.
    fn columns(&self) -> usize {
        product(&[self.directions, 3, self.hidden])
    }

    fn cell(&self) -> Cell {
        Cell { rows: self.batch, hidden: self.hidden }
    }

    fn gate_input(&self) -> GateInput {
        let Self { batch, steps, input, hidden, directions, .. } = *self;
        GateInput { inputs: batch * steps, size: input, hidden, directions }
    }

    fn dropout(&self) -> Option<StateDropout> {
        let Self { batch, steps, hidden, directions, masked, .. } = *self;
        masked.then_some(StateDropout { batch, steps, hidden, directions })
    }

    /// The first element of direction `d` among the states.
    fn states_of(&self, d: usize) -> usize {
        d * kept_states(self.steps, self.masked) * self.batch * self.hidden
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

    /// Direction `d` at position `time` in gi or its gradient.
    fn of_gi<'a>(&self, gi: &'a Tensor, d: usize, time: usize) -> Matrix<'a> {
        let width = self.columns();
        let offset = time * width + d * 3 * self.hidden;
        Matrix { tensor: gi, offset, stride: self.steps * width, batch_stride: 0 }
    }

    /// What the inputs are multiplied with, or the gradients of that.
    fn input_weights<'a>(&self, weights: &[Weights<'a>]) -> Vec<InputWeights<'a>> {
        let of = |weights: &Weights<'a>| InputWeights {
            weight: Matrix::rows(weights.weight_ih).stride(self.input),
            bias: weights.bias_ih,
        };
        weights.iter().map(of).collect()
    }

    fn check(&self, inputs: &Inputs<'_>, saved: &Saved<'_>) -> Result<()> {
        let valid = matches!(self.directions, 1 | 2);
        expect_setting("gru", "directions", valid, "1 or 2", self.directions as f64)?;
        let Self { batch, steps, input, hidden, .. } = *self;
        expect_extents("gru", &[("batch", batch), ("steps", steps), ("input", input), ("hidden", hidden)])?;
        let dtype = saved.dtype();
        if let Input::Rows(x) = inputs.x {
            expect_of(dtype, "gru", "x", x, &[self.batch, self.steps, self.input])?;
        }
        expect("gru", "lengths", inputs.lengths, &[self.batch])?;
        expect_of(dtype, "gru", "states", saved.states, &self.states_shape())?;
        expect_of(dtype, "gru", "gates", saved.gates, &self.gates_shape())?;
        let given = inputs.mask.is_some() == self.masked;
        expect_setting("gru", "mask", given, "as many as the layer has", f64::from(inputs.mask.is_some()))?;
        if let Some(mask) = inputs.mask {
            expect_of(dtype, "gru", "mask", mask, &[self.directions, self.batch, self.hidden])?;
        }
        let valid = inputs.weights.len() == self.directions;
        expect_setting("gru", "weights", valid, "one per direction", inputs.weights.len() as f64)?;
        inputs.weights.iter().try_for_each(|weights| weights.expect("gru", self.input, self.hidden))
    }

    /// Records the layer. `scratch` has [`Gru::scratch`] elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        scratch: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, hidden, directions, .. } = *self;
        let Outputs { saved, .. } = outputs;
        self.check(inputs, saved)?;
        let dtype = saved.dtype();
        if let Some(h0) = inputs.h0 {
            expect_of(dtype, "gru", "h0", h0, &[directions, batch, hidden])?;
        }
        expect_of(dtype, "gru", "y", outputs.y, &[batch, steps, directions * hidden])?;
        expect_scratch_of(dtype, "gru", scratch, self.scratch(matches!(inputs.x, Input::Tokens(_))))?;
        let kept = self.states_of(1);
        if let Some(h0) = inputs.h0.filter(|h0| !saved.states.begins_as(h0) || directions > 1) {
            let of = |tensor, batch_stride| Matrix { tensor, offset: 0, stride: hidden, batch_stride };
            let copy = Copy { rows: batch, columns: hidden, batch: directions };
            copy.record(recorder, of(h0, batch * hidden), None, of(saved.states, kept))?;
        }
        if let (Some(dropout), Some(mask)) = (self.dropout(), inputs.mask) {
            dropout.record_start(recorder, inputs.h0, mask, saved.states, scratch)?;
        }
        let weights = self.input_weights(inputs.weights);
        let products = self.gate_input().record_products(recorder, &inputs.x, &weights, scratch)?;
        for i in 0..steps {
            let of_step: Vec<_> = (0..directions).map(|d| self.cell_step(inputs, outputs, &products, d, i)).collect();
            self.cell().record_all(recorder, tile, &of_step)?;
        }
        Ok(())
    }

    /// Direction `d` in its step number `i`; `products` are those of the inputs, or of the table that they are in.
    fn cell_step<'a>(
        &self,
        inputs: &Inputs<'a>,
        outputs: &Outputs<'a>,
        products: &'a Tensor,
        d: usize,
        i: usize,
    ) -> CellStep<'a> {
        let Outputs { y, saved, .. } = *outputs;
        let (state, time) = (self.batch * self.hidden, self.time(d, i));
        let from = self.states_of(d) + i * state;
        let (gi, picks) = match inputs.x {
            Input::Rows(_) => (self.of_gi(products, d, time), None),
            Input::Tokens(tokens) => {
                let rows = tokens.table.elements() / self.input.max(1);
                let picks = Picks { tokens: tokens.tokens, steps: self.steps, rows };
                (run(products, d * 3 * self.hidden, self.columns()), Some(picks))
            }
        };
        CellStep {
            gi,
            picks,
            begins: i == 0 && inputs.h0.is_none(),
            weight_hh: inputs.weights[d].weight_hh,
            bias_hh: inputs.weights[d].bias_hh,
            states: saved.states,
            from,
            to: from + state,
            y: self.of_y(y, d, time),
            gates: saved.gates,
            gates_offset: (d * self.steps + i) * 4 * state,
            context: None,
            masking: self.dropout().map(|dropout| dropout.masking(d)),
            valid: Some(Valid { lengths: inputs.lengths, time }),
        }
    }

    fn check_backward(
        &self,
        backward: &Backward<'_>,
        scratch: [&Tensor; BACKWARD_SCRATCH],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, input, hidden, directions, .. } = *self;
        let Backward { inputs, saved, d_y, ends, .. } = backward;
        self.check(inputs, saved)?;
        let dtype = saved.dtype();
        expect_of(dtype, "gru", "d_y", d_y, &[batch, steps, directions * hidden])?;
        expect_setting("gru", "ends", ends.len() == directions, "one per direction", ends.len() as f64)?;
        let (of_x, x_shape) = match &inputs.x {
            Input::Rows(_) => (dtype, vec![batch, steps, input]),
            Input::Tokens(tokens) => (Dtype::F32, vec![tokens.table.elements() / input.max(1), input]),
        };
        expect_of(of_x, "gru", "d_x", gradients.x, &x_shape)?;
        expect_of(dtype, "gru", "d_h0", gradients.h0, &[directions, batch, hidden])?;
        let given = gradients.weights.len();
        expect_setting("gru", "d_weights", given == directions, "one per direction", given as f64)?;
        gradients.weights.iter().try_for_each(|weights| weights.expect("gru", input, hidden))?;
        for (scratch, (elements, dtype)) in scratch.into_iter().zip(self.backward_scratch(dtype)) {
            expect_scratch_of(dtype, "gru", scratch, elements)?;
        }
        Ok(())
    }

    /// Records the gradients. `scratch` are tensors of [`Gru::backward_scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        backward: &Backward<'_>,
        scratch: [&Tensor; BACKWARD_SCRATCH],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, input, hidden, directions, .. } = *self;
        let Backward { inputs, .. } = *backward;
        self.check_backward(backward, scratch, gradients)?;
        let [d_gh, d_gi, valid_x] = scratch;

        let mut x = inputs.x;
        if let Input::Rows(rows) = inputs.x {
            // A NaN in the padding of x must not meet the zeros in d_gi.
            let of_x = |tensor| Matrix { tensor, offset: 0, stride: input, batch_stride: steps * input };
            let copy = Copy { rows: steps, columns: input, batch };
            copy.record(recorder, of_x(rows), Some(inputs.lengths), of_x(valid_x))?;
            x = Input::Rows(valid_x);
        }
        let of_step = |i| -> Vec<_> {
            (0..directions).map(|d| self.cell_backward(backward, gradients, [d_gh, d_gi], d, i)).collect()
        };
        for i in (0..steps).rev() {
            self.cell().record_backward(recorder, tile, &of_step(i))?;
        }
        self.record_recurrent(recorder, backward, gradients, d_gh)?;
        let d_weights = self.input_weights(gradients.weights);
        let of_input = InputGradients { weights: &d_weights, input: run(gradients.x, 0, input), accumulate: false };
        let of_gates = InputBackward { input: x, weights: &self.input_weights(inputs.weights), d_gi };
        self.gate_input().record_backward(recorder, &of_gates, &of_input)?;
        if self.masked && backward.into_h0 {
            let spare = |d| batch * steps * self.columns() + d * 3 * hidden;
            let before = of_step(0).into_iter().enumerate().map(|(d, step)| step.before(spare(d), inputs.lengths));
            self.cell().record_backward(recorder, tile, &before.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// The backward of direction `d` in its step number `i`; it leaves the gradients of the gates by state and by input.
    fn cell_backward<'a>(
        &self,
        backward: &Backward<'a>,
        gradients: &Gradients<'a>,
        [d_gh, d_gi]: [&'a Tensor; 2],
        d: usize,
        i: usize,
    ) -> CellBackward<'a> {
        let Backward { inputs, saved, d_y, .. } = *backward;
        let Self { batch, steps, hidden, .. } = *self;
        let (time, state, width) = (self.time(d, i), batch * hidden, self.columns());
        let own = i * batch * width + d * 3 * hidden;
        CellBackward {
            weight: inputs.weights[d].weight_hh,
            d_recurrent: d_gh,
            recurrent_stride: width,
            next: (i + 1 < steps).then_some(own + batch * width),
            own,
            d_gi: self.of_gi(d_gi, d, time),
            d_y: self.of_y(d_y, d, time),
            states: saved.states,
            from: self.states_of(d) + i * state,
            gates: run(saved.gates, (d * steps + i) * 4 * state, 4 * hidden),
            // The gradient of the state goes from step to step in that of h0.
            carry: gradients.h0,
            carry_offset: d * state,
            has_carry: backward.ends[d] || i + 1 < steps,
            masking: self.dropout().map(|dropout| dropout.masking(d)),
            valid: Some(Valid { lengths: inputs.lengths, time }),
        }
    }

    /// The recurrent weights and biases, and without a mask the states before the first step.
    fn record_recurrent(
        &self,
        recorder: &mut Recorder,
        backward: &Backward<'_>,
        gradients: &Gradients<'_>,
        d_gh: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, hidden, masked, .. } = *self;
        let (gates, gpu) = (3 * hidden, recorder.gpu().clone());
        let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
        let choose = |m| matmul::Tile::choose(&gpu, m);
        let by_state = |d| run(d_gh, d * gates, self.columns());
        if !masked && backward.into_h0 {
            let into_h0 = Matmul { accumulate: true, ..product(batch, hidden, gates) };
            let of_directions = backward.inputs.weights.iter().enumerate().map(|(d, weights)| {
                let (b, c) = (run(weights.weight_hh, 0, hidden), run(gradients.h0, d * batch * hidden, hidden));
                Summed { operands: Operands { a: by_state(d), b, bias: None, c }, sums: None }
            });
            let all: Vec<_> = of_directions.collect();
            into_h0.record_all(recorder, choose(batch), &all)?;
        }
        let into_weight_hh = Matmul { transpose_a: true, ..product(gates, hidden, batch * steps) };
        let of_directions = gradients.weights.iter().enumerate().map(|(d, weights)| {
            let entered = self.states_of(d) + self.dropout().map_or(0, |dropout| dropout.masking(d).distance);
            let (b, c) = (run(backward.saved.states, entered, hidden), run(weights.weight_hh, 0, hidden));
            Summed { operands: Operands { a: by_state(d), b, bias: None, c }, sums: Some(weights.bias_hh) }
        });
        let all: Vec<_> = of_directions.collect();
        into_weight_hh.record_all(recorder, choose(gates), &all)
    }
}

/// Rows `stride` apart.
fn run(tensor: &Tensor, offset: usize, stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset, stride, batch_stride: 0 }
}
