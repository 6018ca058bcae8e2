//! One fused step of the unit, forward and backward: what it reads and leaves where, and its launches.

use super::{
    Tile,
    tile::{Form, Loads, backwards, forwards},
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Tensor},
    kernels::{
        expect::{expect, expect_apart, expect_dtype, expect_extents, expect_matrix, expect_setting, expect_tile},
        forms,
        library::shader,
        matmul::{self, Matmul, Matrix, Operands, Summed},
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

/// Rows of a step's input that are rows of a table: row b is that of the token `tokens[b, t]`, t being the step's position.
#[derive(Clone, Copy, Debug)]
pub struct Picks<'a> {
    /// `[R, S]`, u32; a token past the table counts as its last row.
    pub tokens: &'a Tensor,
    /// Steps of a row, S.
    pub steps: usize,
    /// Rows of the table, V.
    pub rows: usize,
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
    /// `[R, 3H]`, what the input (without the context) contributes to the gates, input bias included; with `picks` f32, `[V, 3H]`.
    pub gi: Matrix<'a>,
    /// Which rows of `gi` it is, where it is not one for each; with it, rows have lengths.
    pub picks: Option<Picks<'a>>,
    /// Whether the states before the step are zeros, which the step then leaves there.
    pub begins: bool,
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
    /// The second part of the input; with it, every row is valid, and there is no mask.
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
    /// From one row of these to the next.
    pub recurrent_stride: usize,
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
        self.record_all(recorder, tile, &[*step])
    }

    /// Records a step of each direction of a layer. They lie in the same tensors, apart from each other, and differ in weights and
    /// offsets: one dispatch does them side by side, if one binding holds the weights of both.
    pub(super) fn record_all(&self, recorder: &mut Recorder, tile: Tile, steps: &[CellStep<'_>]) -> Result<()> {
        self.check(recorder.gpu(), tile)?;
        steps.iter().try_for_each(|step| self.check_step(step))?;
        let weights: Vec<_> = steps.iter().map(|step| step.weight_hh).collect();
        let biases: Vec<_> = steps.iter().map(|step| step.bias_hh).collect();
        let covering = |tensors: &[&Tensor]| Tensor::covering(recorder.gpu(), tensors);
        // A copy brings along what lies between them.
        let together = |(all, _): &(Tensor, _)| {
            let each: usize = weights.iter().map(|weight| weight.elements()).sum();
            !recorder.gpu().tiles().textures || all.elements() <= 2 * each
        };
        let (Some(weights), Some(biases)) = (covering(&weights).filter(together), covering(&biases)) else {
            return steps.iter().try_for_each(|step| self.record_all(recorder, tile, &[*step]));
        };
        self.launch(recorder, tile, steps, &weights, &biases)
    }

    fn check_step(&self, step: &CellStep<'_>) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellStep { gi, weight_hh, bias_hh, states, from, to, y, gates, gates_offset, context, .. } = *step;
        let CellStep { masking, valid, picks, .. } = *step;
        let run = |tensor, offset, columns| Matrix { tensor, offset, stride: columns, batch_stride: 0 };
        expect_matrix("gru", "gi", &gi, [1, picks.map_or(rows, |picks| picks.rows), 3 * hidden])?;
        if let Some(Picks { tokens, steps, .. }) = picks {
            expect("gru", "tokens", tokens, &[rows, steps])?;
            let inside = valid.is_some_and(|valid| valid.time < steps);
            expect_setting("gru", "tokens", inside, "those of the step", steps as f64)?;
        }
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
        expect_dtype(if picks.is_some() { Dtype::F32 } else { dtype }, "gru", "gi", gi.tensor)?;
        for (argument, tensor) in [("states", states), ("y", y.tensor), ("gates", gates)] {
            expect_dtype(dtype, "gru", argument, tensor)?;
        }
        for offset in step.of_dropout() {
            expect_matrix("gru", "states", &run(states, offset, hidden), [1, rows, hidden])?;
        }
        if let Some(context) = &context {
            let alone = masking.is_none() && valid.is_none();
            expect_setting("gru", "context", alone, "a cell without a mask and without lengths", f64::from(!alone))?;
            expect_dtype(Dtype::F32, "gru", "weight_ih", context.weight_ih)?;
            let known = context.word(hidden).is_some();
            expect_setting("gru", "context", known, "columns of weight_ih", context.size as f64)?;
            expect_matrix("gru", "context", &Matrix { offset: context.offset, ..y }, [1, rows, context.size])?;
        }
        Ok(())
    }

    /// Weights and biases each with the element at which every direction's begin.
    fn launch(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        steps: &[CellStep<'_>],
        (weights, weight_offsets): &(Tensor, Vec<usize>),
        (biases, bias_offsets): &(Tensor, Vec<usize>),
    ) -> Result<()> {
        let Self { rows, hidden } = *self;
        let Some(first) = steps.first().copied() else { return Ok(()) };
        let CellStep { gi, picks, begins, bias_hh, states, y, gates, context, masking, valid, .. } = first;
        let (dtype, tiles) = (states.dtype().activation(), *recorder.gpu().tiles());
        let size = context.map_or(0, |context| context.size);
        let of_context = context.map_or([0, 0], |context| [context.word(hidden).unwrap_or(0), context.width(hidden)]);
        let entering = if begins { 0 } else { hidden };
        let mut params = vec![rows, hidden, gi.stride, y.stride, usize::from(valid.is_some()), size];
        params.extend(of_context);
        params.extend([entering, picks.map_or(0, |picks| picks.rows), picks.map_or(0, |picks| picks.steps), 0]);
        let shared = params.len();
        for (step, (weight, bias)) in steps.iter().zip(weight_offsets.iter().zip(bias_offsets)) {
            params.extend(step.direction(*weight, *bias));
        }
        // All offsets of a direction; its position, the last word, is none.
        let offsets = params[shared..].chunks(DIRECTION).flat_map(|direction| &direction[..DIRECTION - 1]);
        let extents = [hidden, gi.stride, y.stride, size].into_iter().chain(of_context);
        let vector = extents.chain(offsets.copied()).all(|extent| extent % 4 == 0);
        // Only the weights are read by the eight.
        let wide = forms::words(&tiles, dtype)
            && [hidden, size].iter().chain(&of_context).chain(weight_offsets).all(|extent| extent % 8 == 0);
        let loads = match vector {
            true if wide => Loads::Eight,
            true => Loads::Four,
            false => Loads::Single,
        };
        params.resize(shared + 2 * DIRECTION, 0);
        let form = Form { attended: context.is_some(), dropout: masking.is_some(), picked: picks.is_some() };
        let fourth = match (&context, &valid) {
            (Some(context), _) => context.weight_ih,
            (None, Some(valid)) => valid.lengths,
            (None, None) => bias_hh,
        };
        let mut cost = Cost::default();
        steps.iter().for_each(|_| cost += self.cost(size, dtype));
        recorder.launch_rounds(
            &Launch {
                kernel: &GRU,
                specialisation: tile.forward(&tiles, dtype, loads, form),
                params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
                tensors: &[
                    gi.tensor,
                    weights,
                    biases,
                    fourth,
                    picks.map_or(bias_hh, |picks| picks.tokens),
                    states,
                    y.tensor,
                    gates,
                ],
                workgroups: tile.workgroups(rows, hidden, tile.rows, steps.len()),
                cost,
            },
            (entering + size).div_ceil(tile.depth(false)),
        )
    }

    /// Records the gradients of the gates of a step of each direction of a layer, as [`Cell::record_all`]. `K` columns of
    /// `d_recurrent`, of which the first 3H are the gates'.
    pub(in crate::kernels) fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        steps: &[CellBackward<'_>],
    ) -> Result<()> {
        self.check(recorder.gpu(), tile)?;
        steps.iter().try_for_each(|step| self.check_backward(step))?;
        let behind = |step: &CellBackward<'_>| step.next.is_some() && step.masking.is_none();
        if recorder.gpu().tiles().textures && !steps.is_empty() && steps.iter().all(behind) {
            let behind = self.record_next(recorder, steps)?;
            return self.record_backward(recorder, tile, &behind);
        }
        let weights: Vec<_> = steps.iter().map(|step| step.weight).collect();
        match Tensor::covering(recorder.gpu(), &weights) {
            Some((weights, offsets)) => self.launch_backward(recorder, tile, steps, &weights, &offsets),
            None => steps.iter().try_for_each(|step| self.record_backward(recorder, tile, &[*step])),
        }
    }

    /// Records what comes through the next step as a product by itself, added to the carry, and returns the steps that are left: with
    /// both factors from textures that takes half the time that it takes inside a step.
    fn record_next<'a>(&self, recorder: &mut Recorder, steps: &[CellBackward<'a>]) -> Result<Vec<CellBackward<'a>>> {
        let Self { rows, hidden } = *self;
        let run = |tensor, offset, stride| Matrix { tensor, offset, stride, batch_stride: 0 };
        for alike in steps.chunk_by(|one, other| one.has_carry == other.has_carry) {
            let operands = alike.iter().map(|step| Operands {
                a: run(step.d_recurrent, step.next.unwrap_or(step.own), step.recurrent_stride),
                b: run(step.weight, 0, hidden),
                bias: None,
                c: run(step.carry, step.carry_offset, hidden),
            });
            let products: Vec<_> = operands.map(|operands| Summed { operands, sums: None }).collect();
            let k = alike[0].weight.elements() / hidden;
            let product =
                Matmul { m: rows, n: hidden, k, batch: 1, accumulate: alike[0].has_carry, ..Matmul::default() };
            product.record_all(recorder, matmul::Tile::choose(recorder.gpu(), rows), &products)?;
        }
        Ok(steps.iter().map(|step| CellBackward { next: None, has_carry: true, ..*step }).collect())
    }

    fn check_backward(&self, step: &CellBackward<'_>) -> Result<()> {
        let Self { rows, hidden } = *self;
        let CellBackward { weight, d_recurrent, recurrent_stride, next, own, d_gi, d_y, states, from, .. } = *step;
        let CellBackward { gates, carry, carry_offset, valid, .. } = *step;
        let inner = weight.elements() / hidden;
        let run = |tensor, offset, columns| Matrix { tensor, offset, stride: columns, batch_stride: 0 };
        expect("gru", "weight", weight, &[inner.max(3 * hidden), hidden])?;
        for offset in [next.unwrap_or(own), own] {
            expect_matrix("gru", "d_recurrent", &run(d_recurrent, offset, recurrent_stride), [1, rows, inner])?;
        }
        expect_matrix("gru", "d_gi", &d_gi, [1, rows, 3 * hidden])?;
        expect_matrix("gru", "d_y", &d_y, [1, rows, hidden])?;
        expect_matrix("gru", "gates", &gates, [1, rows, 4 * hidden])?;
        expect_matrix("gru", "carry", &run(carry, carry_offset, hidden), [1, rows, hidden])?;
        for offset in [from, step.mask()] {
            expect_matrix("gru", "states", &run(states, offset, hidden), [1, rows, hidden])?;
        }
        expect_valid(rows, valid.as_ref())?;
        let dtype = states.dtype().activation();
        let activations = [("states", states), ("gates", gates.tensor), ("carry", carry), ("d_recurrent", d_recurrent)];
        for (argument, tensor) in activations.into_iter().chain([("d_gi", d_gi.tensor), ("d_y", d_y.tensor)]) {
            expect_dtype(dtype, "gru", argument, tensor)?;
        }
        expect_apart("gru", &[("d_recurrent", d_recurrent), ("d_gi", d_gi.tensor), ("carry", carry)])
    }

    fn launch_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        steps: &[CellBackward<'_>],
        weights: &Tensor,
        weight_offsets: &[usize],
    ) -> Result<()> {
        let Self { rows, hidden } = *self;
        let Some(first) = steps.first().copied() else { return Ok(()) };
        let CellBackward { weight, d_recurrent, recurrent_stride, next, d_gi, d_y, states, gates, .. } = first;
        let CellBackward { carry, masking, valid, .. } = first;
        let (dtype, tiles) = (states.dtype().activation(), *recorder.gpu().tiles());
        let product = if next.is_some() { weight.elements() / hidden } else { 0 };
        let sizes = [hidden, weight.elements() / hidden, recurrent_stride, d_gi.stride, d_y.stride, gates.stride];
        let mut params = vec![rows, hidden, product, recurrent_stride, d_gi.stride, d_y.stride, gates.stride];
        params.extend([usize::from(valid.is_some()), 0, 0, 0, 0]);
        let mut vector = sizes.iter().all(|size| size % 4 == 0);
        for (step, weight) in steps.iter().zip(weight_offsets) {
            let offsets = step.offsets(*weight);
            vector &= offsets.iter().all(|offset| offset % 4 == 0);
            params.extend(offsets);
            params.extend([step.valid.as_ref().map_or(0, |valid| valid.time), usize::from(step.has_carry), 0]);
        }
        params.resize(12 + 2 * DIRECTION, 0);
        let mut cost = Cost::default();
        steps.iter().for_each(|_| cost += self.backward_cost(product, dtype));
        recorder.launch_rounds(
            &Launch {
                kernel: &GRU_BACKWARD,
                specialisation: tile.backward(&tiles, dtype, vector, masking.is_some()),
                params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
                tensors: &[
                    weights,
                    valid.as_ref().map_or(weights, |valid| valid.lengths),
                    d_y.tensor,
                    states,
                    gates.tensor,
                    d_recurrent,
                    d_gi.tensor,
                    carry,
                ],
                workgroups: tile.workgroups(rows, hidden, tile.backward_rows, steps.len()),
                cost,
            },
            product.div_ceil(tile.depth(true)),
        )
    }
}

/// Words of a direction among the parameters of either shader.
const DIRECTION: usize = 12;

impl Context<'_> {
    /// Columns of `weight_ih`.
    fn width(&self, hidden: usize) -> usize {
        self.weight_ih.elements() / (3 * hidden)
    }

    /// Those before the context's, if `weight_ih` has whole rows.
    fn word(&self, hidden: usize) -> Option<usize> {
        let width = self.width(hidden);
        width.checked_sub(self.size).filter(|_| width * 3 * hidden == self.weight_ih.elements())
    }
}

impl CellStep<'_> {
    /// The first elements of what enters the recurrent product, of the mask, and of its product with the state after.
    fn of_dropout(&self) -> [usize; 3] {
        let Self { from, to, masking, .. } = *self;
        masking.map_or([from, 0, 0], |Masking { mask, distance }| {
            [from.saturating_add(distance), mask, to.saturating_add(distance)]
        })
    }

    /// A `Direction` of the shader.
    fn direction(&self, weight: usize, bias: usize) -> [usize; DIRECTION] {
        let [recurrent, mask, dropped] = self.of_dropout();
        let context = self.context.map_or(0, |context| context.offset);
        let time = self.valid.as_ref().map_or(0, |valid| valid.time);
        let Self { gi, y, from, to, gates_offset, .. } = *self;
        [weight, bias, gi.offset, y.offset, from, to, recurrent, mask, dropped, gates_offset, context, time]
    }
}

impl<'a> CellBackward<'a> {
    fn mask(&self) -> usize {
        self.masking.map_or(0, |masking| masking.mask)
    }

    /// The offsets of a `Direction` of the shader, in its order.
    fn offsets(&self, weight: usize) -> [usize; 9] {
        let Self { next, own, d_gi, d_y, from, gates, carry_offset, .. } = *self;
        [weight, next.unwrap_or(own), own, d_gi.offset, d_y.offset, from, gates.offset, carry_offset, self.mask()]
    }

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
