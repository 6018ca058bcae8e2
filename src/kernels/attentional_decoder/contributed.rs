//! One step by itself where annotations contribute to all that reads the context, as in the teacher-forced loop: to the gates, and to
//! the layer above, which reads `[state; context; word]`. What each annotation and each word contribute is computed once in a search.
//! A step is attention and gates in one dispatch, then the products of its new state, which the former has left to be added to.

use super::{
    AttentionalDecoder, DecoderStep, NAME,
    attended::{Attended, Place},
    record_copy, view,
};
use crate::{
    Result,
    gpu::{Dtype, Gpu, Recorder, Tensor},
    kernels::{
        expect::{expect, expect_dtype, expect_extents, expect_matrix, expect_setting},
        gru::Weights,
        matmul::{self, Activation, Matmul, Matrix, Operands},
    },
};

/// Columns begin and end at multiples of so many elements, the most that one load brings.
const PIECE: usize = 8;

/// One step for `beam` rows of each sentence, R in all, and a layer above it; all in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContributedStep {
    /// The step's sizes.
    pub step: DecoderStep,
    /// Outputs of the layer that reads `[state; context; word]`, T.
    pub top: usize,
}

/// The parameters of a step and of the layer above.
#[derive(Clone, Copy, Debug)]
pub struct StepLayers<'a> {
    /// The table of words, `[W, E]`.
    pub words: &'a Tensor,
    /// The projection of the state to a query, `[A, H]`.
    pub query_weight: &'a Tensor,
    /// The attention's vector v, `[A]`.
    pub energy: &'a Tensor,
    /// The cell on `[word; context]`: `weight_ih` is `[3H, E + V]`.
    pub cell: Weights<'a>,
    /// The layer above, `[T, H + V + E]`.
    pub top_weight: &'a Tensor,
    /// Its bias, `[T]`.
    pub top_bias: Option<&'a Tensor>,
}

/// Memory of a search. I is 3H + T, rounded up to whole loads.
#[derive(Clone, Debug)]
pub struct StepMemory {
    /// What each word contributes, `[W, I]`.
    pub words: Tensor,
    /// What the word of each row contributes, `[R, I]`: rows of `words`, which the caller puts there before each step.
    pub gi: Tensor,
    /// The states before and after a step, `[2, R, H]`.
    pub states: Tensor,
    /// What multiplies a state: the recurrent weights over those of the query and of the layer above, `[3H + A + T, H]`.
    stacked: Tensor,
    /// The cell's recurrent biases and the energy vector, `[3H + A]`.
    vectors: Tensor,
    /// What each annotation contributes, `[B, S, I]`.
    contributions: Tensor,
    /// `[R, 4H + A + T]`, T rounded up: nothing, then the products of the states.
    products: Tensor,
    /// `[R, S]`, for those who do not ask for the attention's weights.
    weights: Tensor,
}

impl StepMemory {
    /// Memory for a step over a vocabulary of `words`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a size of 0, [`crate::Error::Limit`] over the adapter's binding or buffer limit,
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, step: &ContributedStep, words: usize) -> Result<Self> {
        step.check_extents()?;
        let DecoderStep { batch, keys, hidden, size, .. } = step.step;
        let (rows, inputs) = (step.step.rows(), step.inputs());
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        Ok(Self {
            words: tensor("words' contributions", &[words, inputs])?,
            gi: tensor("word's contributions", &[rows, inputs])?,
            states: tensor("states", &[2, rows, hidden])?,
            stacked: tensor("stacked", &[step.products() + step.top, hidden])?,
            vectors: tensor("vectors", &[3 * hidden + size])?,
            contributions: tensor("contributions", &[batch, keys, inputs])?,
            products: tensor("products", &[rows, step.width()])?,
            weights: tensor("weights", &[rows, keys])?,
        })
    }
}

impl ContributedStep {
    /// T, rounded up to whole loads.
    fn padded_top(&self) -> usize {
        self.top.next_multiple_of(PIECE)
    }

    /// Columns of what words and annotations contribute, I.
    pub fn inputs(&self) -> usize {
        3 * self.step.hidden + self.padded_top()
    }

    /// The products of a state for gates and query.
    fn products(&self) -> usize {
        3 * self.step.hidden + self.step.size
    }

    /// The column of a row of products at which those for the layer above begin.
    fn top_column(&self) -> usize {
        self.step.hidden + self.products()
    }

    fn width(&self) -> usize {
        self.top_column() + self.padded_top()
    }

    /// The step as one of a loop over all rows.
    fn of_rows(&self) -> AttentionalDecoder {
        let DecoderStep { keys, word, hidden, size, annotation, .. } = self.step;
        let batch = self.step.rows();
        AttentionalDecoder { batch, steps: 1, keys, word, hidden, size, annotation, masked: false, zeroed: false }
    }

    /// The layer above of all rows, `[R, T]`, once [`ContributedStep::record_top`] has made it.
    pub fn top<'a>(&self, memory: &'a StepMemory) -> Matrix<'a> {
        view(&memory.products, self.top_column(), self.width(), 0)
    }

    /// Whether the driver goes through the loops of a step.
    pub fn fits(&self, gpu: &Gpu) -> bool {
        self.of_rows().workgroup_of_step(gpu, Dtype::F32, self.padded_top()).is_ok()
    }

    fn check_extents(&self) -> Result<()> {
        self.step.check_extents()?;
        expect_extents(NAME, &[("keys", self.step.keys), ("top", self.top)])
    }

    fn check(&self, memory: &StepMemory) -> Result<()> {
        self.check_extents()?;
        let DecoderStep { batch, keys, hidden, .. } = self.step;
        let (rows, inputs) = (self.step.rows(), self.inputs());
        expect(NAME, "gi", &memory.gi, &[rows, inputs])?;
        expect(NAME, "states", &memory.states, &[2, rows, hidden])?;
        expect(NAME, "stacked", &memory.stacked, &[self.products() + self.top, hidden])?;
        expect(NAME, "contributions", &memory.contributions, &[batch, keys, inputs])?;
        expect(NAME, "products", &memory.products, &[rows, self.width()])
    }

    /// Records what all steps of a search share: from the parameters, and from `annotation` `[B, S, V]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record_start(
        &self,
        recorder: &mut Recorder,
        layers: &StepLayers<'_>,
        annotation: &Tensor,
        memory: &StepMemory,
    ) -> Result<()> {
        let DecoderStep { batch, keys, word, hidden, size, annotation: context, .. } = self.step;
        let StepLayers { words, query_weight, energy, cell, top_weight, top_bias } = *layers;
        self.check(memory)?;
        let (features, gates, inputs) = (hidden + context + word, 3 * hidden, self.inputs());
        let vocabulary = words.elements() / word;
        cell.expect(NAME, word + context, hidden)?;
        expect(NAME, "query_weight", query_weight, &[size, hidden])?;
        expect(NAME, "energy", energy, &[size])?;
        expect(NAME, "top_weight", top_weight, &[self.top, features])?;
        top_bias.map_or(Ok(()), |bias| expect(NAME, "top_bias", bias, &[self.top]))?;
        expect(NAME, "annotation", annotation, &[batch, keys, context])?;
        expect(NAME, "words", words, &[vocabulary, word])?;
        expect(NAME, "words", &memory.words, &[vocabulary, inputs])?;

        let (stacked, vectors) = (view(&memory.stacked, 0, hidden, 0), view(&memory.vectors, 0, gates + size, 0));
        record_copy(recorder, [gates, hidden], view(cell.weight_hh, 0, hidden, 0), stacked)?;
        let of_query = stacked.offset(gates * hidden);
        record_copy(recorder, [size, hidden], view(query_weight, 0, hidden, 0), of_query)?;
        let of_top = stacked.offset(self.products() * hidden);
        record_copy(recorder, [self.top, hidden], view(top_weight, 0, features, 0), of_top)?;
        record_copy(recorder, [1, gates], view(cell.bias_hh, 0, gates, 0), vectors)?;
        record_copy(recorder, [1, size], view(energy, 0, size, 0), vectors.offset(gates))?;

        let [of_cell, of_top] = [view(cell.weight_ih, 0, word + context, 0), view(top_weight, hidden, features, 0)];
        let (a, c) = (view(words, 0, word, 0), view(&memory.words, 0, inputs, 0));
        record_product(recorder, [vocabulary, gates, word], a, of_cell, (Some(cell.bias_ih), c))?;
        let (b, c) = (of_top.offset(context), c.offset(gates));
        record_product(recorder, [vocabulary, self.top, word], a, b, (top_bias, c))?;
        let (a, c) = (view(annotation, 0, context, 0), view(&memory.contributions, 0, inputs, 0));
        record_product(recorder, [batch * keys, gates, context], a, of_cell.offset(word), (None, c))?;
        record_product(recorder, [batch * keys, self.top, context], a, of_top, (None, c.offset(gates)))
    }

    /// Records the products of the states at `from` for gates and query, in place of what a step has left there.
    ///
    /// # Errors
    /// As [`ContributedStep::record_start`].
    pub fn record_state(&self, recorder: &mut Recorder, memory: &StepMemory, from: usize) -> Result<()> {
        let hidden = self.step.hidden;
        let c = view(&memory.products, hidden, self.width(), 0);
        self.record_of_states(recorder, memory, from, [0, self.products()], (Matmul::default(), c))
    }

    /// Records attention and gates behind the products of the states at the first of `places`; the states after go to the second.
    /// `key` is `[B, S, A]`, `lengths` u32 `[B]`, and the attention's weights `[R, S]` are left where they are asked for.
    ///
    /// # Errors
    /// As [`ContributedStep::record_start`].
    pub fn record_attended(
        &self,
        recorder: &mut Recorder,
        memory: &StepMemory,
        [key, lengths]: [&Tensor; 2],
        places: [usize; 2],
        weights: Option<Matrix<'_>>,
    ) -> Result<()> {
        let DecoderStep { batch, beam, keys, size, .. } = self.step;
        self.check(memory)?;
        self.check_places(memory, &places)?;
        let apart = places[0].abs_diff(places[1]);
        let half = self.step.rows() * self.step.hidden;
        expect_setting(NAME, "places", apart >= half, "states apart from each other", apart as f64)?;
        expect(NAME, "key", key, &[batch, keys, size])?;
        expect(NAME, "lengths", lengths, &[batch])?;
        let weights = weights.unwrap_or_else(|| Matrix::rows(&memory.weights));
        expect_matrix(NAME, "weights", &weights, [1, self.step.rows(), keys])?;
        expect_dtype(Dtype::F32, NAME, "weights", weights.tensor)?;
        let attended = Attended {
            gi: &memory.gi,
            key,
            contributions: &memory.contributions,
            vectors: &memory.vectors,
            lengths,
            gates: &memory.products,
            states: &memory.states,
            weights: weights.tensor,
            masking: None,
        };
        let place = Place {
            gi: [0, self.inputs()],
            gates: 0,
            states: places,
            weights: [weights.offset, weights.stride],
            apart: Some([beam, self.padded_top()]),
        };
        self.of_rows().record_attended_at(recorder, &attended, &place)
    }

    /// Records the layer above for the states at `place`, which the step has left there, and with `next` the products for gates and
    /// query of the step after, which then needs no [`ContributedStep::record_state`].
    ///
    /// # Errors
    /// As [`ContributedStep::record_start`], and for an activation with `next`: products for gates have none.
    pub fn record_top(
        &self,
        recorder: &mut Recorder,
        memory: &StepMemory,
        place: usize,
        next: bool,
        activation: Activation,
    ) -> Result<()> {
        let plain = !next || activation == Activation::None;
        expect_setting(NAME, "activation", plain, "none with the products for the next gates", 1.0)?;
        self.check(memory)?;
        let products = if next { [0, self.products() + self.top] } else { [self.products(), self.top] };
        let c = view(&memory.products, self.step.hidden + products[0], self.width(), 0);
        let onto = Matmul { accumulate: true, activation, ..Matmul::default() };
        self.record_of_states(recorder, memory, place, products, (onto, c))
    }

    /// Products of states by `count` of the stacked rows from `first` on.
    fn record_of_states(
        &self,
        recorder: &mut Recorder,
        memory: &StepMemory,
        place: usize,
        [first, count]: [usize; 2],
        (form, c): (Matmul, Matrix<'_>),
    ) -> Result<()> {
        let (rows, hidden) = (self.step.rows(), self.step.hidden);
        self.check(memory)?;
        self.check_places(memory, &[place])?;
        let a = view(&memory.states, place, hidden, 0);
        let b = view(&memory.stacked, first * hidden, hidden, 0);
        let product = Matmul { m: rows, n: count, k: hidden, batch: 1, transpose_b: true, ..form };
        let tile = matmul::Tile::choose(recorder.gpu(), rows);
        product.record(recorder, tile, &Operands { a, b, bias: None, c })
    }

    fn check_places(&self, memory: &StepMemory, places: &[usize]) -> Result<()> {
        let (rows, hidden) = (self.step.rows(), self.step.hidden);
        places.iter().try_for_each(|place| {
            // Wide loads begin at multiples of their width.
            let whole = place.is_multiple_of(hidden);
            expect_setting(NAME, "places", whole, "a multiple of the size of a state", *place as f64)?;
            expect_matrix(NAME, "states", &view(&memory.states, *place, hidden, 0), [1, rows, hidden])
        })
    }
}

/// `c = a bᵀ + bias` of m by n by k.
fn record_product(
    recorder: &mut Recorder,
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    (bias, c): (Option<&Tensor>, Matrix<'_>),
) -> Result<()> {
    let product = Matmul { m, n, k, batch: 1, transpose_b: true, ..Matmul::default() };
    product.record(recorder, matmul::Tile::choose(recorder.gpu(), m), &Operands { a, b, bias, c })
}
