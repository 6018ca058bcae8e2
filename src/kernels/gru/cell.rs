//! One fused step of the unit, forward and backward: what it reads and leaves where, and its launches.

use super::{
    Tile,
    tile::{Loads, backwards, forwards},
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Tensor},
    kernels::{
        expect::{expect, expect_apart, expect_dtype, expect_extents, expect_matrix, expect_setting, expect_tile},
        library::shader,
        matmul::Matrix,
    },
};

pub(in crate::kernels) static GRU: Shader = shader!("gru", forwards);
pub(in crate::kernels) static GRU_BACKWARD: Shader = shader!("gru_backward", backwards);

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

/// A mask on the states where they enter a product, the same at all steps: 0, or one over the share that it keeps.
///
/// This is the variational dropout of Gal and Ghahramani 2016, section 4, in the form that Marian (`--dropout-rnn`), Nematus and
/// Keras give a GRU: the state that the update gate weights goes on without the mask.
#[derive(Clone, Copy, Debug)]
pub struct Masking {
    /// The first element of the mask, `[R, H]`, in the tensor of the states.
    pub mask: usize,
    /// From a state to its product with the mask, in that tensor: the step reads one and writes the next.
    pub distance: usize,
}

/// Where a [`Cell`] finds and leaves what. Weights and biases are f32, all else is of one type, which may be f16.
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
    /// The mask on the states, if there is one.
    pub masking: Option<Masking>,
    /// Which rows are valid; without it all are.
    pub valid: Option<Valid<'a>>,
}

/// Where a [`Cell`]'s backward finds and leaves what. All offsets are in elements.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct CellBackward<'a> {
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
    /// `[R, 4H]`: r, z, n and W_hn h + b_hn.
    pub gates: Matrix<'a>,
    /// `[R, H]`: what goes round the gates, from step to step.
    pub carry: &'a Tensor,
    pub carry_offset: usize,
    /// Whether the carry holds anything yet.
    pub has_carry: bool,
    pub masking: Option<Masking>,
    pub valid: Option<Valid<'a>>,
}

impl Cell {
    /// Operations and bytes of a step with a context of `context` elements.
    pub fn cost(&self, context: usize, dtype: Dtype) -> Cost {
        let (rows, hidden, inner) = (self.rows as f64, self.hidden as f64, (self.hidden + context) as f64);
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: rows * hidden * (6.0 * inner + 40.0),
            // Two exponentials and three divisions.
            transcendental: 5.0 * rows * hidden,
            read: bytes * rows * (inner + 3.0 * hidden) + ELEMENT as f64 * 3.0 * hidden * inner,
            written: bytes * 6.0 * rows * hidden,
        }
    }

    /// Operations and bytes of a step's backward; `inner` products of each state element, 0 after the last step.
    fn backward_cost(&self, inner: usize, dtype: Dtype) -> Cost {
        let (rows, hidden, inner) = (self.rows as f64, self.hidden as f64, inner as f64);
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: rows * hidden * (2.0 * inner + 22.0),
            transcendental: 0.0,
            read: bytes * rows * (inner + 7.0 * hidden) + ELEMENT as f64 * hidden * inner,
            written: bytes * 7.0 * rows * hidden,
        }
    }

    /// Checks the sizes, and that there is a form for the tile.
    fn check(&self, gpu: &Gpu, tile: Tile) -> Result<()> {
        expect_extents("gru", &[("rows", self.rows), ("hidden", self.hidden)])?;
        expect_tile(gpu, tile, Tile::of(gpu.tiles(), self.rows))
    }

    /// Records the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not hold what the sizes ask for, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, tile: Tile, step: &CellStep<'_>) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellStep { gi, weight_hh, bias_hh, states, from, to, y, gates, gates_offset, context, .. } = *step;
        let CellStep { masking, valid, .. } = *step;
        self.check(recorder.gpu(), tile)?;
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
        expect_apart("gru", &[("states", states), ("y", y.tensor), ("gates", gates)])?;
        let dtype = states.dtype().activation();
        for (argument, tensor) in [("states", states), ("gi", gi.tensor), ("y", y.tensor), ("gates", gates)] {
            expect_dtype(dtype, "gru", argument, tensor)?;
        }
        let mut extents = [hidden, gi.offset, gi.stride, from, to, y.offset, y.stride, gates_offset].to_vec();
        let mut second = [0; 4];
        let mut dropped = [from, 0, 0];
        if let Some(Masking { mask, distance }) = masking {
            dropped = [from.saturating_add(distance), mask, to.saturating_add(distance)];
            extents.extend(dropped);
            for offset in dropped {
                expect_matrix("gru", "states", &run(states, offset, hidden), [1, rows, hidden])?;
            }
        }
        if let Some(context) = &context {
            expect_dtype(Dtype::F32, "gru", "weight_ih", context.weight_ih)?;
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
        params.extend([gates_offset, masked, time].into_iter().chain(second).chain(dropped).map(|value| value as u32));
        // Only the weights are read by the eight.
        let wide = Loads::eight(recorder.gpu().tiles(), dtype)
            && [hidden, second[0], second[2], second[3]].iter().all(|size| size % 8 == 0);
        let loads = match extents.iter().all(|extent| extent % 4 == 0) {
            true if wide => Loads::Eight,
            true => Loads::Four,
            false => Loads::Single,
        };
        recorder.launch(&Launch {
            kernel: &GRU,
            specialisation: tile.forward(dtype, loads, context.is_some(), masking.is_some()),
            params: &params,
            tensors: &[gi.tensor, weight_hh, bias_hh, fourth, states, y.tensor, gates],
            workgroups: tile.workgroups(rows, hidden, tile.rows),
            cost: self.cost(second[0], dtype),
        })
    }

    /// Records the gradients of a step's gates. `K` columns of `d_recurrent`, of which the first 3H are the gates'.
    pub(in crate::kernels) fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        step: &CellBackward<'_>,
    ) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellBackward { weight, d_recurrent, next, own, d_gi, d_y, states, from, gates, .. } = *step;
        let CellBackward { carry, carry_offset, has_carry, masking, valid, .. } = *step;
        self.check(recorder.gpu(), tile)?;
        let inner = weight.elements() / hidden;
        let run = |tensor, offset, columns| Matrix { tensor, offset, stride: columns, batch_stride: 0 };
        expect("gru", "weight", weight, &[inner.max(3 * hidden), hidden])?;
        for offset in [next.unwrap_or(own), own] {
            expect_matrix("gru", "d_recurrent", &run(d_recurrent, offset, inner), [1, rows, inner])?;
        }
        expect_matrix("gru", "d_gi", &d_gi, [1, rows, 3 * hidden])?;
        expect_matrix("gru", "d_y", &d_y, [1, rows, hidden])?;
        expect_matrix("gru", "states", &run(states, from, hidden), [1, rows, hidden])?;
        expect_matrix("gru", "gates", &gates, [1, rows, 4 * hidden])?;
        expect_matrix("gru", "carry", &run(carry, carry_offset, hidden), [1, rows, hidden])?;
        expect_valid(rows, valid.as_ref())?;
        let dtype = states.dtype().activation();
        let activations = [("states", states), ("gates", gates.tensor), ("carry", carry), ("d_recurrent", d_recurrent)];
        for (argument, tensor) in activations.into_iter().chain([("d_gi", d_gi.tensor), ("d_y", d_y.tensor)]) {
            expect_dtype(dtype, "gru", argument, tensor)?;
        }
        expect_apart("gru", &[("d_recurrent", d_recurrent), ("d_gi", d_gi.tensor), ("carry", carry)])?;
        let mask = masking.as_ref().map_or(0, |masking| masking.mask);
        expect_matrix("gru", "states", &run(states, mask, hidden), [1, rows, hidden])?;
        let extents = [
            [hidden, inner, next.unwrap_or(own), own, d_gi.offset, d_gi.stride],
            [d_y.offset, d_y.stride, from, gates.offset, carry_offset, mask],
        ];
        let vector = extents.iter().flatten().chain([&gates.stride]).all(|extent| extent % 4 == 0);
        let product = if next.is_some() { inner } else { 0 };
        let time = valid.as_ref().map_or(0, |valid| valid.time);
        let params = [
            [rows, hidden, product, next.unwrap_or(own)],
            [own, inner, d_gi.offset, d_gi.stride],
            [d_y.offset, d_y.stride, from, gates.offset],
            [carry_offset, usize::from(has_carry), usize::from(valid.is_some()), time],
        ];
        let mut params = params.concat();
        params.extend([mask, gates.stride]);
        recorder.launch(&Launch {
            kernel: &GRU_BACKWARD,
            specialisation: tile.backward(dtype, vector, masking.is_some()),
            params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
            tensors: &[
                weight,
                valid.as_ref().map_or(weight, |valid| valid.lengths),
                d_y.tensor,
                states,
                gates.tensor,
                d_recurrent,
                d_gi.tensor,
                carry,
            ],
            workgroups: tile.workgroups(rows, hidden, tile.backward_rows),
            cost: self.backward_cost(product, dtype),
        })
    }
}

impl<'a> CellBackward<'a> {
    /// What follows the backward of a first step where a mask lies on its state: a step in which no row is valid passes the
    /// gradient of that state on. It leaves zeros from `spare` on, where another step's gradients fit, and in d_gi, which must
    /// have served.
    pub(in crate::kernels) fn before(self, spare: usize, lengths: &'a Tensor) -> Self {
        let never = Valid { lengths, time: u32::MAX as usize };
        Self { next: Some(self.own), own: spare, has_carry: true, valid: Some(never), ..self }
    }
}

fn expect_valid(rows: usize, valid: Option<&Valid<'_>>) -> Result<()> {
    valid.map_or(Ok(()), |valid| expect("gru", "lengths", valid.lengths, &[rows]))
}
