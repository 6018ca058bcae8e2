//! One step by itself, as generation takes it, for any number of rows per sentence.

use super::{NAME, Tiles, view};
use crate::{
    Result,
    gpu::{Cost, Dtype, Recorder, Tensor, product},
    kernels::{
        additive_attention::{self, AdditiveAttention},
        expect::{expect, expect_extents, expect_matrix},
        gru::{Cell, CellStep, Context, Weights},
        matmul::{self, Matmul, Matrix, Operands},
    },
};

/// One step for `beam` rows of each sentence, which share the sentence's keys: R = B * beam rows, sentence by sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderStep {
    /// Sentences, B.
    pub batch: usize,
    /// Rows per sentence.
    pub beam: usize,
    /// Source steps, S, masked ones included.
    pub keys: usize,
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of the hidden state, H.
    pub hidden: usize,
    /// Size of the projected queries and keys, A.
    pub size: usize,
    /// Size of an annotation, V.
    pub annotation: usize,
}

/// What every step reads alike.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// `[B, S, A]`, the projected annotations, their bias included.
    pub key: &'a Tensor,
    /// `[B, S, V]`, the encoder's outputs.
    pub annotation: &'a Tensor,
    /// `[B]`, u32, how many annotations of each sentence are valid.
    pub lengths: &'a Tensor,
    /// `[A, H]`, the projection of the state to a query.
    pub query_weight: &'a Tensor,
    /// `[A]`, the attention's vector v.
    pub energy: &'a Tensor,
    /// The cell on `[word; context]`: `weight_ih` is `[3H, E+V]`.
    pub cell: Weights<'a>,
}

/// Where a [`DecoderStep`] finds and leaves what is its own.
#[derive(Clone, Copy, Debug)]
pub struct StepTensors<'a> {
    /// `[R, 3H]`, from [`DecoderStep::record_words`].
    pub gi: Matrix<'a>,
    /// States, each `[R, H]`, before and after the step, in one tensor.
    pub states: &'a Tensor,
    /// The first element of the states before.
    pub from: usize,
    /// The first element of the states after; they must not overlap those before.
    pub to: usize,
    /// `[R, A]`, receives the queries.
    pub queries: Matrix<'a>,
    /// `[R, H+V]`, receives the new state and its context; the words may stand behind them.
    pub features: Matrix<'a>,
    /// `[R, S]`, receives the attention's weights.
    pub weights: Option<Matrix<'a>>,
    /// `[R, 4H]`, receives the gates, from element `gates_offset` on.
    pub gates: &'a Tensor,
    /// As above.
    pub gates_offset: usize,
}

/// One matrix of rows as a batch of `beam` rows for each sentence, which is how the attention counts them.
fn by_sentence(matrix: Matrix<'_>, beam: usize) -> Matrix<'_> {
    Matrix { batch_stride: product(&[beam, matrix.stride]), ..matrix }
}

impl DecoderStep {
    pub(super) fn rows(&self) -> usize {
        self.batch * self.beam
    }

    pub(super) fn attention(&self) -> AdditiveAttention {
        let Self { batch, beam, keys, size, annotation, .. } = *self;
        AdditiveAttention { batch, queries: beam, keys, size, value_size: annotation }
    }

    fn attention_inputs<'a>(&self, inputs: &StepInputs<'a>, queries: Matrix<'a>) -> additive_attention::Inputs<'a> {
        let StepInputs { key, annotation, lengths, energy, .. } = *inputs;
        additive_attention::Inputs { query: by_sentence(queries, self.beam), key, energy, value: annotation, lengths }
    }

    /// What `rows` words contribute to the gates.
    pub(super) fn words_product(&self, rows: usize) -> Matmul {
        Matmul { m: rows, n: 3 * self.hidden, k: self.word, batch: 1, transpose_b: true, ..Matmul::default() }
    }

    fn query_product(&self) -> Matmul {
        Matmul { m: self.rows(), n: self.size, k: self.hidden, batch: 1, transpose_b: true, ..Matmul::default() }
    }

    fn cell(&self) -> Cell {
        Cell { rows: self.rows(), hidden: self.hidden }
    }

    /// Operations and bytes of a step, less [`DecoderStep::record_words`].
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let mut sum = self.query_product().cost_of([dtype, Dtype::F32, dtype]);
        sum += self.attention().cost(dtype);
        sum += self.cell().cost(self.annotation, dtype);
        sum
    }

    pub(super) fn check_extents(&self) -> Result<()> {
        let Self { batch, beam, word, hidden, size, annotation, .. } = *self;
        expect_extents(NAME, &[("batch", batch), ("beam", beam), ("rows", product(&[batch, beam])), ("word", word)])?;
        expect_extents(NAME, &[("hidden", hidden), ("size", size), ("annotation", annotation)])
    }

    fn check(&self, inputs: &StepInputs<'_>) -> Result<()> {
        self.check_extents()?;
        expect(NAME, "query_weight", inputs.query_weight, &[self.size, self.hidden])?;
        inputs.cell.expect(NAME, self.word + self.annotation, self.hidden)
    }

    /// Records what `rows` words, each `[E]`, contribute to the gates: gi, `[rows, 3H]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record_words(
        &self,
        recorder: &mut Recorder,
        rows: usize,
        cell: &Weights<'_>,
        words: Matrix<'_>,
        gi: Matrix<'_>,
    ) -> Result<()> {
        self.check_extents()?;
        cell.expect(NAME, self.word + self.annotation, self.hidden)?;
        let tile = matmul::Tile::choose(recorder.gpu(), rows);
        let weight = view(cell.weight_ih, 0, self.word + self.annotation, 0);
        self.words_product(rows).record(
            recorder,
            tile,
            &Operands { a: words, b: weight, bias: Some(cell.bias_ih), c: gi },
        )
    }

    /// Records the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        inputs: &StepInputs<'_>,
        tensors: &StepTensors<'_>,
    ) -> Result<()> {
        let Self { beam, hidden, annotation, .. } = *self;
        let StepTensors { gi, states, from, to, queries, features, weights, gates, gates_offset } = *tensors;
        let rows = self.rows();
        self.check(inputs)?;
        expect_matrix(NAME, "features", &features, [1, rows, hidden + annotation])?;
        let small = matmul::Tile::choose(recorder.gpu(), rows);
        let (state, query_weight) = (view(states, from, hidden, 0), view(inputs.query_weight, 0, hidden, 0));
        self.query_product().record(
            recorder,
            small,
            &Operands { a: state, b: query_weight, bias: None, c: queries },
        )?;

        let attention = self.attention_inputs(inputs, queries);
        let context = features.offset(hidden);
        let weights = weights.map(|weights| by_sentence(weights, beam));
        self.attention().record(recorder, tiles.step_attention, &attention, by_sentence(context, beam), weights)?;

        let step = CellStep {
            gi,
            picks: None,
            begins: false,
            weight_hh: inputs.cell.weight_hh,
            bias_hh: inputs.cell.bias_hh,
            states,
            from,
            to,
            y: features,
            gates,
            gates_offset,
            context: Some(Context { weight_ih: inputs.cell.weight_ih, offset: context.offset, size: annotation }),
            masking: None,
            valid: None,
        };
        self.cell().record(recorder, tiles.cell, &step)
    }
}
