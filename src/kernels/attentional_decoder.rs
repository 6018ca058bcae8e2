//! The attentional decoder over a whole teacher-forced sequence (Bahdanau et al. 2015, appendix A.2.2): at each step additive
//! attention with the previous state as the query, then a GRU cell on `[word; context]`.
//!
//! What words contribute to the gates is one matmul before the loop, gradients of weights are one each after it. A step is
//! three dispatches forward (query, attention, cell) and four backward.

mod step;

pub use step::{DecoderStep, StepInputs, StepTensors};

use super::{
    additive_attention::{self, AdditiveAttention, KeyGradients},
    copy::Copy,
    expect::{expect, expect_extents, expect_of, expect_scratch_of, expect_setting},
    gate_input::{GateInput, InputGradients},
    gru::{Cell, CellBackward, Input, StateDropout, Tile, Tokens, WeightGradients, Weights, kept_states},
    matmul::{self, Matmul, Matrix},
    reduction::ColumnSum,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Gpu, Recorder, Tensor, product},
};

const NAME: &str = "attentional_decoder";

/// Sizes of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionalDecoder {
    /// Rows, B.
    pub batch: usize,
    /// Target steps, T.
    pub steps: usize,
    /// Source steps, S.
    pub keys: usize,
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of the state, H.
    pub hidden: usize,
    /// Size of the alignment layer, A.
    pub size: usize,
    /// Size of an annotation, V.
    pub annotation: usize,
    /// Whether there is a mask on the states, [`Inputs::mask`].
    pub masked: bool,
}

/// What the loop reads. Weights, biases, the energy vector and a table of words are f32, with their gradients, and so are the
/// attention's weights; all else is of one type, which may be f16.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The embedded words fed in, `[B, T, E]`.
    pub words: &'a Tensor,
    /// The table and the tokens `[B, T]` that the words are, where the table's products with the cell's weights shall serve.
    pub tokens: Option<Tokens<'a>>,
    /// The state before the first step, `[B, H]`.
    pub state0: &'a Tensor,
    /// The projected annotations, bias included, `[B, S, A]`.
    pub key: &'a Tensor,
    /// `[B, S, V]`.
    pub annotation: &'a Tensor,
    /// Source lengths, u32 `[B]`.
    pub lengths: &'a Tensor,
    /// `[A, H]`.
    pub query_weight: &'a Tensor,
    /// The vector v, `[A]`.
    pub energy: &'a Tensor,
    /// The cell; `weight_ih` is `[3H, E + V]`.
    pub cell: Weights<'a>,
    /// `[B, H]`, what the state is multiplied with where the query and the gates read it, the same at all steps.
    pub mask: Option<&'a Tensor>,
}

impl<'a> Inputs<'a> {
    fn input(&self) -> Input<'a> {
        self.tokens.map_or(Input::Rows(self.words), Input::Tokens)
    }

    fn dtype(&self) -> Dtype {
        self.words.dtype().activation()
    }

    fn of_step(&self) -> StepInputs<'a> {
        let Self { key, annotation, lengths, query_weight, energy, cell, .. } = *self;
        StepInputs { key, annotation, lengths, query_weight, energy, cell }
    }
}

/// What the forward pass leaves to the backward pass, steps slowest.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The states before each step and after the last, `[T + 1, B, H]`; with a mask `[2(T + 1) + 1, B, H]`, their products with
    /// it behind them, then the mask.
    pub states: &'a Tensor,
    /// r, z, n and W_hn h + b_hn, `[T, B, 4H]`.
    pub gates: &'a Tensor,
    /// The projected states, `[T, B, A]`.
    pub queries: &'a Tensor,
}

/// Where the gradients of [`Inputs`] go; each is overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, E]`; without what goes to `table`.
    pub words: &'a Tensor,
    /// `[V, E]`, where there are tokens: through the cell's products with the table.
    pub table: Option<&'a Tensor>,
    /// `[B, H]`.
    pub state0: &'a Tensor,
    /// `[B, S, A]`.
    pub key: &'a Tensor,
    /// `[B, S, V]`.
    pub annotation: &'a Tensor,
    /// `[A, H]`.
    pub query_weight: &'a Tensor,
    /// `[A]`.
    pub energy: &'a Tensor,
    /// The cell's.
    pub cell: WeightGradients<'a>,
}

/// Tensors of the backward pass that hold nothing before or after it.
pub const BACKWARD_SCRATCH: usize = 8;

/// A matrix inside a tensor.
fn view(tensor: &Tensor, offset: usize, stride: usize, batch_stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset, stride, batch_stride }
}

impl AttentionalDecoder {
    /// Size of `[state; context; word]`, F.
    pub fn features(&self) -> usize {
        self.hidden + self.annotation + self.word
    }

    /// The shape of [`Saved::states`].
    pub fn states_shape(&self) -> [usize; 3] {
        [kept_states(self.steps, self.masked), self.batch, self.hidden]
    }

    /// The shape of [`Saved::gates`].
    pub fn gates_shape(&self) -> [usize; 3] {
        [self.steps, self.batch, 4 * self.hidden]
    }

    /// The shape of [`Saved::queries`].
    pub fn queries_shape(&self) -> [usize; 3] {
        [self.steps, self.batch, self.size]
    }

    /// Elements of the forward pass's scratch.
    pub fn scratch(&self) -> usize {
        product(&[self.batch, self.steps, 3, self.hidden])
    }

    /// Elements and types of the backward pass's scratch tensors, each in a buffer of its own.
    pub fn backward_scratch(&self, dtype: Dtype) -> [(usize, Dtype); BACKWARD_SCRATCH] {
        let rows = product(&[self.batch, self.steps]);
        let sums = self.gates_sum().scratch().max(self.recurrent_sum().scratch());
        let one_more = if self.masked { self.batch } else { 0 };
        [
            (product(&[self.products(), self.hidden]), Dtype::F32),
            (product(&[rows.saturating_add(one_more), self.products()]), dtype),
            (product(&[rows, 3, self.hidden]), dtype),
            (product(&[rows, self.annotation]), dtype),
            (product(&[rows, self.keys]), Dtype::F32),
            (self.attention(self.steps).scratch(), Dtype::F32),
            (sums, Dtype::F32),
            (self.products(), Dtype::F32),
        ]
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let mut sum = self.single().words_product(self.batch * self.steps).cost_of([dtype, Dtype::F32, dtype]);
        for _ in 0..self.steps {
            sum += self.single().cost(dtype);
        }
        sum
    }

    /// What is multiplied with a state: the gates' recurrent weights and the query's, K.
    fn products(&self) -> usize {
        3 * self.hidden + self.size
    }

    /// One step of the loop.
    fn single(&self) -> DecoderStep {
        let Self { batch, keys, word, hidden, size, annotation, .. } = *self;
        DecoderStep { batch, beam: 1, keys, word, hidden, size, annotation }
    }

    fn attention(&self, queries: usize) -> AdditiveAttention {
        AdditiveAttention { queries, ..self.single().attention() }
    }

    fn cell(&self) -> Cell {
        Cell { rows: self.batch, hidden: self.hidden }
    }

    fn dropout(&self) -> Option<StateDropout> {
        let Self { batch, steps, hidden, masked, .. } = *self;
        masked.then_some(StateDropout { batch, steps, hidden, directions: 1 })
    }

    fn gate_input(&self) -> GateInput {
        GateInput { inputs: self.batch * self.steps, size: self.word, hidden: self.hidden }
    }

    fn gates_sum(&self) -> ColumnSum {
        ColumnSum { rows: self.batch * self.steps, columns: 3 * self.hidden }
    }

    fn recurrent_sum(&self) -> ColumnSum {
        ColumnSum { rows: self.batch * self.steps, columns: self.products() }
    }

    /// Columns from `column` on of step `t` of a tensor `[B, T, width]`, as rows of one matrix.
    fn step<'a>(&self, tensor: &'a Tensor, width: usize, column: usize, t: usize) -> Matrix<'a> {
        view(tensor, t * width + column, self.steps * width, 0)
    }

    /// The same, as a batch of single rows.
    fn step_batch<'a>(&self, tensor: &'a Tensor, width: usize, column: usize, t: usize) -> Matrix<'a> {
        view(tensor, t * width + column, width, self.steps * width)
    }

    fn attention_inputs<'a>(&self, inputs: &Inputs<'a>, query: Matrix<'a>) -> additive_attention::Inputs<'a> {
        let Inputs { key, energy, annotation, lengths, .. } = *inputs;
        additive_attention::Inputs { query, key, energy, value: annotation, lengths }
    }

    fn check(&self, inputs: &Inputs<'_>, features: &Tensor, weights: &Tensor, saved: &Saved<'_>) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, masked } = *self;
        expect_extents(NAME, &[("batch", batch), ("steps", steps), ("keys", keys), ("word", word)])?;
        expect_extents(NAME, &[("hidden", hidden), ("size", size), ("annotation", annotation)])?;
        let (given, dtype) = (inputs.mask.is_some(), inputs.dtype());
        expect_setting(NAME, "mask", given == masked, "as many as the loop has", f64::from(given))?;
        if let Some(mask) = inputs.mask {
            expect_of(dtype, NAME, "mask", mask, &[batch, hidden])?;
        }
        expect_of(dtype, NAME, "words", inputs.words, &[batch, steps, word])?;
        expect_of(dtype, NAME, "state0", inputs.state0, &[batch, hidden])?;
        expect_of(dtype, NAME, "key", inputs.key, &[batch, keys, size])?;
        expect_of(dtype, NAME, "annotation", inputs.annotation, &[batch, keys, annotation])?;
        expect(NAME, "lengths", inputs.lengths, &[batch])?;
        expect(NAME, "query_weight", inputs.query_weight, &[size, hidden])?;
        expect(NAME, "energy", inputs.energy, &[size])?;
        inputs.cell.expect(NAME, word + annotation, hidden)?;
        expect_of(dtype, NAME, "features", features, &[batch, steps, self.features()])?;
        expect_of(Dtype::F32, NAME, "weights", weights, &[batch, steps, keys])?;
        expect_of(dtype, NAME, "states", saved.states, &self.states_shape())?;
        expect_of(dtype, NAME, "gates", saved.gates, &self.gates_shape())?;
        expect_of(dtype, NAME, "queries", saved.queries, &self.queries_shape())
    }

    /// Records `features` `[B, T, H + V + E]` = `[state; context; word]`, the alignment `weights` `[B, T, S]`, and what the
    /// backward pass needs. `scratch` has [`AttentionalDecoder::scratch`] elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    #[expect(clippy::too_many_arguments, reason = "inputs, outputs, what is kept and what is not")]
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &Inputs<'_>,
        features: &Tensor,
        weights: &Tensor,
        saved: &Saved<'_>,
        scratch: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, .. } = *self;
        self.check(inputs, features, weights, saved)?;
        expect_scratch_of(inputs.dtype(), NAME, scratch, self.scratch())?;
        let (state, width) = (batch * hidden, self.features());
        let words = view(inputs.words, 0, word, 0);
        let weight_iw = view(inputs.cell.weight_ih, 0, word + annotation, 0);
        if let (Some(dropout), Some(mask)) = (self.dropout(), inputs.mask) {
            dropout.record_start(recorder, inputs.state0, mask, saved.states, scratch)?;
        }
        self.gate_input().record(recorder, &inputs.input(), weight_iw, inputs.cell.bias_ih, scratch)?;
        let all_words = Copy { rows: batch * steps, columns: word, batch: 1 };
        all_words.record(recorder, words, None, view(features, hidden + annotation, width, 0))?;
        let first = Copy { rows: batch, columns: hidden, batch: 1 };
        first.record(recorder, view(inputs.state0, 0, hidden, 0), None, view(saved.states, 0, hidden, 0))?;
        let masking = self.dropout().map(|dropout| dropout.masking(0));
        for t in 0..steps {
            let tensors = StepTensors {
                gi: self.step(scratch, 3 * hidden, 0, t),
                states: saved.states,
                from: t * state,
                to: (t + 1) * state,
                queries: view(saved.queries, t * batch * size, size, 0),
                features: self.step(features, width, 0, t),
                weights: Some(self.step(weights, keys, 0, t)),
                gates: saved.gates,
                gates_offset: t * 4 * state,
            };
            self.single().record_masked(recorder, tiles, &inputs.of_step(), &tensors, masking)?;
        }
        Ok(())
    }

    /// Records the gradients. `scratch` are tensors of [`AttentionalDecoder::backward_scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// As [`AttentionalDecoder::record`].
    #[expect(clippy::too_many_arguments, reason = "inputs, outputs, their gradients and scratch")]
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        features: &Tensor,
        weights: &Tensor,
        d_features: &Tensor,
        d_weights: Option<&Tensor>,
        scratch: &[Tensor; BACKWARD_SCRATCH],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, .. } = *self;
        self.check(inputs, features, weights, saved)?;
        let dtype = inputs.dtype();
        expect_of(dtype, NAME, "d_features", d_features, &[batch, steps, self.features()])?;
        expect_of(dtype, NAME, "d_state0", gradients.state0, &[batch, hidden])?;
        expect_of(dtype, NAME, "d_words", gradients.words, &[batch, steps, word])?;
        expect(NAME, "d_query_weight", gradients.query_weight, &[size, hidden])?;
        gradients.cell.expect(NAME, word + annotation, hidden)?;
        let tables = (inputs.tokens.map(|tokens| tokens.table.elements()), gradients.table.map(Tensor::elements));
        expect_setting(NAME, "d_table", tables.0 == tables.1, "as large as the table", tables.1.unwrap_or(0) as f64)?;
        if let Some(d_weights) = d_weights {
            expect_of(Dtype::F32, NAME, "d_weights", d_weights, &[batch, steps, keys])?;
        }
        for (scratch, (elements, dtype)) in scratch.iter().zip(self.backward_scratch(dtype)) {
            expect_scratch_of(dtype, NAME, scratch, elements)?;
        }
        // The recurrent weights over the query's; the gradients of what either was multiplied into, [T, B, K]; those of gi,
        // of the contexts and of the scores, each [B, T, ..].
        let [stacked, d_recurrent, d_gi, d_context, d_energy, attention_scratch, sums, column_sums] = scratch;
        let (state, width, products, gates) = (batch * hidden, self.features(), self.products(), 3 * hidden);
        let (rows, input) = (batch * steps, word + annotation);
        let copy = |recorder: &mut Recorder, rows, columns, from, to| {
            Copy { rows, columns, batch: 1 }.record(recorder, from, None, to)
        };
        let (weight_hh, query_weight) =
            (view(inputs.cell.weight_hh, 0, hidden, 0), view(inputs.query_weight, 0, hidden, 0));
        copy(recorder, gates, hidden, weight_hh, view(stacked, 0, hidden, 0))?;
        copy(recorder, size, hidden, query_weight, view(stacked, gates * hidden, hidden, 0))?;
        copy(recorder, rows, annotation, view(d_features, hidden, width, 0), view(d_context, 0, annotation, 0))?;
        let stacked_weight = stacked.scratch([products, hidden])?;
        let masking = self.dropout().map(|dropout| dropout.masking(0));
        let step = |t: usize| {
            let own = t * batch * products;
            CellBackward {
                weight: &stacked_weight,
                d_recurrent,
                next: (t + 1 < steps).then_some(own + batch * products),
                own,
                d_gi: self.step(d_gi, gates, 0, t),
                d_y: self.step(d_features, width, 0, t),
                states: saved.states,
                from: t * state,
                gates: saved.gates,
                gates_offset: t * 4 * state,
                carry: gradients.state0,
                carry_offset: 0,
                has_carry: t + 1 < steps,
                masking,
                valid: None,
            }
        };
        for t in (0..steps).rev() {
            let own = t * batch * products;
            self.cell().record_backward(recorder, tiles.cell, &step(t))?;
            let into_context =
                Matmul { m: batch, n: annotation, k: gates, batch: 1, accumulate: true, ..Matmul::default() };
            let (by_input, weight_ic) = (self.step(d_gi, gates, 0, t), view(inputs.cell.weight_ih, word, input, 0));
            let own_context = self.step(d_context, annotation, 0, t);
            into_context.record(recorder, tiles.all(batch), by_input, weight_ic, None, own_context)?;
            let query = view(saved.queries, t * batch * size, size, size);
            let attention = additive_attention::Backward {
                inputs: self.attention_inputs(inputs, query),
                weights: self.step_batch(weights, keys, 0, t),
                d_context: self.step_batch(d_context, annotation, 0, t),
                d_weights: d_weights.map(|d_weights| self.step_batch(d_weights, keys, 0, t)),
                d_energy: self.step_batch(d_energy, keys, 0, t),
            };
            let d_query = view(d_recurrent, own + gates, products, products);
            self.attention(1).record_backward_query(recorder, tiles.step_attention, &attention, d_query)?;
        }
        let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
        let mut matmul = |matmul: Matmul, a, b, c| matmul.record(recorder, tiles.all(matmul.m), a, b, None, c);
        if masking.is_none() {
            let into_state0 = Matmul { accumulate: true, ..product(batch, hidden, products) };
            let d_state0 = view(gradients.state0, 0, hidden, 0);
            matmul(into_state0, view(d_recurrent, 0, products, 0), view(stacked, 0, hidden, 0), d_state0)?;
        }
        let transposed = |m, n| Matmul { transpose_a: true, ..product(m, n, rows) };
        let states = view(saved.states, masking.map_or(0, |masking| masking.distance), hidden, 0);
        let (by_state, by_query) = (view(d_recurrent, 0, products, 0), view(d_recurrent, gates, products, 0));
        matmul(transposed(gates, hidden), by_state, states, view(gradients.cell.weight_hh, 0, hidden, 0))?;
        matmul(transposed(size, hidden), by_query, states, view(gradients.query_weight, 0, hidden, 0))?;
        let (by_input, d_weight_ih) = (view(d_gi, 0, gates, 0), view(gradients.cell.weight_ih, 0, input, 0));
        let contexts = view(features, hidden, width, 0);
        matmul(transposed(gates, annotation), by_input, contexts, d_weight_ih.offset(word))?;
        let d_words = view(gradients.words, 0, word, 0);
        copy(recorder, rows, word, view(d_features, hidden + annotation, width, 0), d_words)?;
        let of_input = InputGradients {
            weight: d_weight_ih,
            bias: gradients.cell.bias_ih,
            input: gradients.table.map_or(d_words, |table| view(table, 0, word, 0)),
            accumulate: gradients.table.is_none(),
        };
        let weight_iw = view(inputs.cell.weight_ih, 0, input, 0);
        self.gate_input().record_backward(recorder, &inputs.input(), weight_iw, d_gi, sums, &of_input)?;
        if masking.is_some() {
            let into_state0 = step(0).before(rows * products, inputs.lengths);
            self.cell().record_backward(recorder, tiles.cell, &into_state0)?;
        }
        let column_sums = column_sums.scratch([products])?;
        self.recurrent_sum().record(recorder, &d_recurrent.scratch([rows, products])?, sums, &column_sums)?;
        copy(recorder, 1, gates, view(&column_sums, 0, gates, 0), view(gradients.cell.bias_hh, 0, gates, 0))?;
        let queries = view(saved.queries, 0, batch * size, size);
        let attention = additive_attention::Backward {
            inputs: self.attention_inputs(inputs, queries),
            weights: view(weights, 0, keys, steps * keys),
            d_context: view(d_context, 0, annotation, steps * annotation),
            d_weights: None,
            d_energy: view(d_energy, 0, keys, steps * keys),
        };
        let of_keys = KeyGradients { key: gradients.key, energy: gradients.energy, value: gradients.annotation };
        self.attention(steps).record_backward_key(recorder, tiles.attention, &attention, attention_scratch, &of_keys)
    }
}

/// The tile configurations of the kernels that the loop is made of.
#[derive(Clone, Debug)]
pub struct Tiles {
    gpu: Gpu,
    cell: Tile,
    step_attention: additive_attention::Tile,
    attention: additive_attention::Tile,
}

impl Tiles {
    /// The configurations for an adapter and a shape.
    pub fn choose(gpu: &Gpu, decoder: &AttentionalDecoder) -> Self {
        let attention = additive_attention::Tile::choose(gpu, &decoder.attention(decoder.steps));
        Self { attention, ..Self::of_step(gpu, &decoder.single()) }
    }

    /// The configurations for an adapter and the shape of a single step.
    pub fn of_step(gpu: &Gpu, step: &DecoderStep) -> Self {
        let attention = additive_attention::Tile::choose(gpu, &step.attention());
        Self { gpu: gpu.clone(), cell: Tile::choose(gpu, step.rows()), step_attention: attention, attention }
    }

    /// That of a product with so many rows.
    fn all(&self, rows: usize) -> matmul::Tile {
        matmul::Tile::choose(&self.gpu, rows)
    }
}
