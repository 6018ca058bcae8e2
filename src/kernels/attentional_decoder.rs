//! The attentional decoder over a whole teacher-forced sequence (Bahdanau et al. 2015, appendix A.2.2): at each step additive
//! attention with the previous state as the query, then a GRU cell on `[word; context]`.
//!
//! What words contribute to the gates is one matmul before the loop, gradients of weights are one each after it. A step is
//! three dispatches forward (query, attention, cell) and four backward.

mod backward;
mod step;

pub use backward::{BACKWARD_SCRATCH, Backward, Gradients};
pub use step::{DecoderStep, StepInputs, StepTensors};

use super::{
    additive_attention::{self, AdditiveAttention},
    copy::Copy,
    expect::{expect, expect_extents, expect_of, expect_scratch_of, expect_setting},
    gate_input::GateInput,
    gru::{Cell, Input, StateDropout, Tile, Tokens, Weights, kept_states},
    matmul::{self, Matrix},
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

/// The outputs of the forward pass, which the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[state; context; word]`, `[B, T, H + V + E]`.
    pub features: &'a Tensor,
    /// The alignment weights, `[B, T, S]`.
    pub weights: &'a Tensor,
    /// For the backward pass alone: the states before each step and after the last, `[T + 1, B, H]`; with a mask
    /// `[2(T + 1) + 1, B, H]`, their products with it behind them, then the mask.
    pub states: &'a Tensor,
    /// For the backward pass alone: r, z, n and W_hn h + b_hn, `[T, B, 4H]`.
    pub gates: &'a Tensor,
    /// For the backward pass alone: the projected states, `[T, B, A]`.
    pub queries: &'a Tensor,
}

/// A matrix inside a tensor.
fn view(tensor: &Tensor, offset: usize, stride: usize, batch_stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset, stride, batch_stride }
}

impl AttentionalDecoder {
    /// Size of `[state; context; word]`, F.
    pub fn features(&self) -> usize {
        self.hidden + self.annotation + self.word
    }

    /// The shape of [`Outputs::states`].
    pub fn states_shape(&self) -> [usize; 3] {
        [kept_states(self.steps, self.masked), self.batch, self.hidden]
    }

    /// The shape of [`Outputs::gates`].
    pub fn gates_shape(&self) -> [usize; 3] {
        [self.steps, self.batch, 4 * self.hidden]
    }

    /// The shape of [`Outputs::queries`].
    pub fn queries_shape(&self) -> [usize; 3] {
        [self.steps, self.batch, self.size]
    }

    /// Elements of the forward pass's scratch.
    pub fn scratch(&self) -> usize {
        product(&[self.batch, self.steps, 3, self.hidden])
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

    fn check(&self, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
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
        expect_of(dtype, NAME, "features", outputs.features, &[batch, steps, self.features()])?;
        expect_of(Dtype::F32, NAME, "weights", outputs.weights, &[batch, steps, keys])?;
        expect_of(dtype, NAME, "states", outputs.states, &self.states_shape())?;
        expect_of(dtype, NAME, "gates", outputs.gates, &self.gates_shape())?;
        expect_of(dtype, NAME, "queries", outputs.queries, &self.queries_shape())
    }

    /// Records the loop. `scratch` has [`AttentionalDecoder::scratch`] elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        scratch: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, .. } = *self;
        let Outputs { features, weights, states, gates, queries } = *outputs;
        self.check(inputs, outputs)?;
        expect_scratch_of(inputs.dtype(), NAME, scratch, self.scratch())?;
        let (state, width) = (batch * hidden, self.features());
        let words = view(inputs.words, 0, word, 0);
        let weight_iw = view(inputs.cell.weight_ih, 0, word + annotation, 0);
        if let (Some(dropout), Some(mask)) = (self.dropout(), inputs.mask) {
            dropout.record_start(recorder, inputs.state0, mask, states, scratch)?;
        }
        self.gate_input().record(recorder, &inputs.input(), weight_iw, inputs.cell.bias_ih, scratch)?;
        let all_words = Copy { rows: batch * steps, columns: word, batch: 1 };
        all_words.record(recorder, words, None, view(features, hidden + annotation, width, 0))?;
        let first = Copy { rows: batch, columns: hidden, batch: 1 };
        first.record(recorder, view(inputs.state0, 0, hidden, 0), None, view(states, 0, hidden, 0))?;
        let masking = self.dropout().map(|dropout| dropout.masking(0));
        for t in 0..steps {
            let tensors = StepTensors {
                gi: self.step(scratch, 3 * hidden, 0, t),
                states,
                from: t * state,
                to: (t + 1) * state,
                queries: view(queries, t * batch * size, size, 0),
                features: self.step(features, width, 0, t),
                weights: Some(self.step(weights, keys, 0, t)),
                gates,
                gates_offset: t * 4 * state,
            };
            self.single().record_masked(recorder, tiles, &inputs.of_step(), &tensors, masking)?;
        }
        Ok(())
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
