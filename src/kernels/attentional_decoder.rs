//! The attentional decoder over a whole teacher-forced sequence (Bahdanau et al. 2015, appendix A.2.2): at each step additive
//! attention with the previous state as the query, then a GRU cell on `[word; context]`.
//!
//! What words contribute to the gates is one matmul before the loop, and so is what each annotation would contribute as the whole
//! context: a step then weights those contributions in place of annotations, and has no product with its context. Gradients of
//! weights are one matmul each after the loop. Parameters that are read together are not copied together where they lie so already.
//! A step is two dispatches forward (the products of its state, then attention and gates) and two backward. A step by itself, in
//! generation, makes its context, [`DecoderStep`], or has contributions too, [`ContributedStep`].

mod attended;
mod backward;
mod contributed;
mod step;

use attended::Attended;
pub(super) use attended::{ATTENTIONAL_DECODER, ATTENTIONAL_DECODER_BACKWARD};
pub use backward::{BACKWARD_SCRATCH, Backward, Gradients};
pub use contributed::{ContributedStep, StepLayers, StepMemory};
pub use step::{DecoderStep, StepInputs, StepTensors};

use super::{
    additive_attention::{self, AdditiveAttention},
    copy::Copy,
    embedding::Embedding,
    expect::{expect, expect_apart, expect_extents, expect_of, expect_scratch_of, expect_setting},
    gate_input::{GateInput, InputWeights},
    gru::{Cell, Input, Masking, StateDropout, Tile, Tokens, Weights, kept_states},
    matmul::{self, Matmul, Matrix, Operands},
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
    /// Whether annotations are 0 past their row's length, where there may be anything else: they are copied then.
    pub zeroed: bool,
}

/// What the loop reads. Weights, biases, the energy vector and a table of words are f32, with their gradients, and so are the
/// attention's weights; all else is of one type, which may be f16.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The embedded words fed in, `[B, T, E]`; or the table and the tokens `[B, T]` that they are, where the table's products with the
    /// cell's weights shall serve.
    pub words: Input<'a>,
    /// The state before the first step, `[B, H]`; it may lie where the states begin.
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
    fn dtype(&self) -> Dtype {
        self.state0.dtype().activation()
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
    /// For the backward pass alone, `[T, B, 4H + A]`: r, z, n, W_hn h + b_hn and the query.
    pub gates: &'a Tensor,
    /// For the backward pass alone, `[B, S, 3H]`: what each annotation would contribute to the gates as the whole context.
    pub contributions: &'a Tensor,
    /// For the backward pass alone, f32 `[3H + A, H]`: the recurrent weights over those of the query, where these do not lie so
    /// already.
    pub stacked: &'a Tensor,
}

/// Tensors of the forward pass that hold nothing before or after it.
pub const SCRATCH: usize = 3;

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
        [self.steps, self.batch, self.gates_width()]
    }

    /// The shape of [`Outputs::contributions`].
    pub fn contributions_shape(&self) -> [usize; 3] {
        [self.batch, self.keys, 3 * self.hidden]
    }

    /// The shape of [`Outputs::stacked`].
    pub fn stacked_shape(&self) -> [usize; 2] {
        [self.products(), self.hidden]
    }

    /// Elements and types of the forward pass's scratch tensors, each in a buffer of its own.
    pub fn scratch(&self, dtype: Dtype) -> [(usize, Dtype); SCRATCH] {
        let Self { batch, steps, keys, hidden, annotation, zeroed, .. } = *self;
        [
            (product(&[batch, steps, 3, hidden]), dtype),
            (if zeroed { 0 } else { product(&[batch, keys, annotation]) }, dtype),
            (self.products(), Dtype::F32),
        ]
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let layer = [dtype, Dtype::F32, dtype];
        let mut sum = self.single().words_product(self.batch * self.steps).cost_of(layer);
        sum += self.contributions_product().cost_of(layer);
        sum += self.contexts_product().cost_of([Dtype::F32, dtype, dtype]);
        for _ in 0..self.steps {
            sum += self.state_product().cost_of(layer);
            sum += self.cost_attended(dtype);
        }
        sum
    }

    /// What the state before a step is multiplied with.
    fn state_product(&self) -> Matmul {
        let (m, n, k) = (self.batch, self.products(), self.hidden);
        Matmul { m, n, k, batch: 1, transpose_b: true, ..Matmul::default() }
    }

    fn contributions_product(&self) -> Matmul {
        let (m, n, k) = (self.batch * self.keys, 3 * self.hidden, self.annotation);
        Matmul { m, n, k, batch: 1, transpose_b: true, ..Matmul::default() }
    }

    /// The contexts of all steps, from their weights.
    fn contexts_product(&self) -> Matmul {
        Matmul { m: self.steps, n: self.annotation, k: self.keys, batch: self.batch, ..Matmul::default() }
    }

    /// A row of [`Outputs::gates`].
    fn gates_width(&self) -> usize {
        4 * self.hidden + self.size
    }

    /// What is multiplied with a state: the gates' recurrent weights and the query's, K.
    fn products(&self) -> usize {
        3 * self.hidden + self.size
    }

    /// One step by itself.
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
        GateInput { inputs: self.batch * self.steps, size: self.word, hidden: self.hidden, directions: 1 }
    }

    /// The words that tokens name.
    fn embedding(&self, tokens: &Tokens<'_>) -> Embedding {
        let (vocabulary, tokens) = (tokens.table.elements() / self.word.max(1), self.batch * self.steps);
        Embedding { vocabulary, size: self.word, tokens, padding: None }
    }

    /// What words are multiplied with, or its gradient.
    fn of_words<'a>(&self, cell: &Weights<'a>) -> InputWeights<'a> {
        InputWeights { weight: view(cell.weight_ih, 0, self.word + self.annotation, 0), bias: cell.bias_ih }
    }

    /// Columns from `column` on of step `t` of a tensor `[B, T, width]`, as rows of one matrix.
    fn step<'a>(&self, tensor: &'a Tensor, width: usize, column: usize, t: usize) -> Matrix<'a> {
        view(tensor, t * width + column, self.steps * width, 0)
    }

    fn attention_inputs<'a>(&self, inputs: &Inputs<'a>, query: Matrix<'a>) -> additive_attention::Inputs<'a> {
        let Inputs { key, energy, annotation, lengths, .. } = *inputs;
        additive_attention::Inputs { query, key, energy, value: annotation, lengths }
    }

    fn check(&self, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, masked, .. } = *self;
        expect_extents(NAME, &[("batch", batch), ("steps", steps), ("keys", keys), ("word", word)])?;
        expect_extents(NAME, &[("hidden", hidden), ("size", size), ("annotation", annotation)])?;
        let (given, dtype) = (inputs.mask.is_some(), inputs.dtype());
        expect_setting(NAME, "mask", given == masked, "as many as the loop has", f64::from(given))?;
        if let Some(mask) = inputs.mask {
            expect_of(dtype, NAME, "mask", mask, &[batch, hidden])?;
        }
        if let Input::Rows(words) = inputs.words {
            expect_of(dtype, NAME, "words", words, &[batch, steps, word])?;
        }
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
        expect_of(dtype, NAME, "contributions", outputs.contributions, &self.contributions_shape())?;
        expect_of(Dtype::F32, NAME, "stacked", outputs.stacked, &self.stacked_shape())?;
        expect_apart(NAME, &[("states", outputs.states), ("gates", outputs.gates), ("weights", outputs.weights)])
    }

    /// Records the loop. `scratch` are tensors of [`AttentionalDecoder::scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        scratch: &[Tensor; SCRATCH],
    ) -> Result<()> {
        self.check(inputs, outputs)?;
        for (scratch, (elements, dtype)) in scratch.iter().zip(self.scratch(inputs.dtype())) {
            expect_scratch_of(dtype, NAME, scratch, elements)?;
        }
        let [gi, valid, vectors] = scratch;
        let annotation = if self.zeroed { inputs.annotation } else { valid };
        let Outputs { weights, states, gates, contributions, .. } = *outputs;
        let masking = self.dropout().map(|dropout| dropout.masking(0));
        self.record_inputs(recorder, inputs, outputs, gi)?;
        let stacked = &self.record_stacked(recorder, inputs, outputs.stacked)?;
        let vectors = &self.record_vectors(recorder, inputs, vectors)?;
        let outputs = &Outputs { stacked, ..*outputs };
        self.record_contributions(recorder, tiles, inputs, annotation, contributions)?;
        let Inputs { key, lengths, .. } = *inputs;
        let attended = Attended { gi, key, contributions, vectors, lengths, gates, states, weights, masking };
        for t in 0..self.steps {
            self.record_state_product(recorder, tiles, outputs, masking, t)?;
            self.record_attended(recorder, &attended, t)?;
        }
        self.record_features(recorder, tiles, outputs, annotation)
    }

    /// What comes from words and the first state: the gates' inputs, the words among the features, the mask's products.
    fn record_inputs(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        gi: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, word, hidden, annotation, .. } = *self;
        let Outputs { features, states, .. } = *outputs;
        let width = self.features();
        if let (Some(dropout), Some(mask)) = (self.dropout(), inputs.mask) {
            dropout.record_start(recorder, Some(inputs.state0), mask, states, gi)?;
        }
        self.gate_input().record(recorder, &inputs.words, &[self.of_words(&inputs.cell)], gi)?;
        let among_features = view(features, hidden + annotation, width, 0);
        match &inputs.words {
            Input::Rows(words) => {
                record_copy(recorder, [batch * steps, word], view(words, 0, word, 0), among_features)?;
            }
            Input::Tokens(tokens) => {
                self.embedding(tokens).record(recorder, tokens.table, tokens.tokens, among_features)?;
            }
        }
        if states.begins_as(inputs.state0) {
            return Ok(());
        }
        record_copy(recorder, [batch, hidden], view(inputs.state0, 0, hidden, 0), view(states, 0, hidden, 0))
    }

    /// What multiplies a state, one over the other.
    fn record_stacked(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, into: &Tensor) -> Result<Tensor> {
        let stacked = self.stacked(recorder.gpu(), inputs, into);
        if stacked.overlaps(into) {
            let Self { hidden, size, .. } = *self;
            let (gates, of) = (3 * hidden, |tensor| view(tensor, 0, hidden, 0));
            record_copy(recorder, [gates, hidden], of(inputs.cell.weight_hh), of(into))?;
            record_copy(recorder, [size, hidden], of(inputs.query_weight), of(into).offset(gates * hidden))?;
        }
        Ok(stacked)
    }

    /// The recurrent weights over those of the query: they themselves where they lie so among the parameters, else their copy.
    fn stacked(&self, gpu: &Gpu, inputs: &Inputs<'_>, copy: &Tensor) -> Tensor {
        let both = Tensor::joined(gpu, inputs.cell.weight_hh, inputs.query_weight, self.stacked_shape());
        both.unwrap_or_else(|| copy.clone())
    }

    /// The cell's recurrent biases, and the energy vector behind them.
    fn record_vectors(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, into: &Tensor) -> Result<Tensor> {
        let Self { hidden, size, .. } = *self;
        let gates = 3 * hidden;
        if let Some(both) = Tensor::joined(recorder.gpu(), inputs.cell.bias_hh, inputs.energy, [self.products()]) {
            return Ok(both);
        }
        record_copy(recorder, [1, gates], view(inputs.cell.bias_hh, 0, gates, 0), view(into, 0, gates, 0))?;
        record_copy(recorder, [1, size], view(inputs.energy, 0, size, 0), view(into, gates, size, 0))?;
        Ok(into.clone())
    }

    /// `valid` are the annotations with zeros past each length, or receives them so.
    fn record_contributions(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &Inputs<'_>,
        valid: &Tensor,
        contributions: &Tensor,
    ) -> Result<()> {
        let Self { batch, keys, word, annotation, .. } = *self;
        let of = |tensor| view(tensor, 0, annotation, keys * annotation);
        if !self.zeroed {
            let copy = Copy { rows: keys, columns: annotation, batch };
            copy.record(recorder, of(inputs.annotation), Some(inputs.lengths), of(valid))?;
        }
        let product = self.contributions_product();
        let weight_ic = view(inputs.cell.weight_ih, word, word + annotation, 0);
        let (a, c) = (view(valid, 0, annotation, 0), view(contributions, 0, product.n, 0));
        product.record(recorder, tiles.all(product.m), &Operands { a, b: weight_ic, bias: None, c })
    }

    /// The products of the state before step `t`, into its gates.
    fn record_state_product(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        outputs: &Outputs<'_>,
        masking: Option<Masking>,
        t: usize,
    ) -> Result<()> {
        let Self { batch, hidden, .. } = *self;
        let width = self.gates_width();
        let entering = t * batch * hidden + masking.map_or(0, |masking| masking.distance);
        let (a, b) = (view(outputs.states, entering, hidden, 0), view(outputs.stacked, 0, hidden, 0));
        let c = view(outputs.gates, t * batch * width + hidden, width, 0);
        self.state_product().record(recorder, tiles.all(batch), &Operands { a, b, bias: None, c })
    }

    /// The states and contexts of all steps, among the features.
    fn record_features(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        outputs: &Outputs<'_>,
        annotation: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, keys, hidden, .. } = *self;
        let (state, width) = (batch * hidden, self.features());
        let Outputs { features, weights, states, .. } = *outputs;
        let copy = Copy { rows: batch, columns: hidden, batch: steps };
        copy.record(recorder, view(states, state, hidden, state), None, view(features, 0, steps * width, width))?;
        let product = self.contexts_product();
        let a = view(weights, 0, keys, steps * keys);
        let b = view(annotation, 0, product.n, keys * product.n);
        let c = view(features, hidden, width, steps * width);
        product.record(recorder, tiles.all(steps), &Operands { a, b, bias: None, c })
    }
}

fn record_copy(recorder: &mut Recorder, [rows, columns]: [usize; 2], from: Matrix<'_>, to: Matrix<'_>) -> Result<()> {
    Copy { rows, columns, batch: 1 }.record(recorder, from, None, to)
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
        Self {
            gpu: gpu.clone(),
            cell: Tile::choose(gpu, [step.rows(), step.hidden], 1),
            step_attention: attention,
            attention,
        }
    }

    /// That of a product with so many rows.
    fn all(&self, rows: usize) -> matmul::Tile {
        matmul::Tile::choose(&self.gpu, rows)
    }
}
