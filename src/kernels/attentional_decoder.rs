//! The teacher-forced decoder loop of Bahdanau et al. (2015), section 3.1 and appendix A.2.2, between the embedding and the
//! readout: [`DecoderStep`], one step for any number of rows per sentence, and [`AttentionalDecoder`], the whole loop.
//!
//! Equations: [`crate::reference::attentional_decoder`]. A step is three dispatches: the query, the attention, the cell. What
//! the words contribute to the gates is one matmul before the loop, and the gradients of all parameters are one matmul each
//! after it.

use super::{
    additive_attention::{self, AdditiveAttention},
    copy::{Copy, expect_matrix},
    expect::{expect, expect_scratch, front},
    gru::{self, Cell, CellBackward, CellStep, Context, WeightGradients, Weights},
    matmul::{self, Matmul, Matrix},
    reduction::ColumnSum,
};
use crate::{
    Result,
    gpu::{Gpu, Recorder, Tensor},
};

const OPERATION: &str = "attentional_decoder";

/// What one workgroup of each kernel of the loop computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The attention within the loop.
    pub attention: additive_attention::Tile,
    /// The gradients of the attention's keys and values, after the loop.
    pub keys: additive_attention::Tile,
    /// The cell.
    pub cell: gru::Tile,
}

impl Tile {
    /// The configuration for an adapter and a shape.
    pub fn choose(gpu: &Gpu, shape: &AttentionalDecoder) -> Self {
        let step = shape.step();
        Self { keys: additive_attention::Tile::choose(gpu, &shape.attention()), ..Self::of_step(gpu, &step) }
    }

    /// The configuration for an adapter and the shape of a single step.
    pub fn of_step(gpu: &Gpu, step: &DecoderStep) -> Self {
        let attention = additive_attention::Tile::choose(gpu, &step.attention());
        Self { attention, keys: attention, cell: gru::Tile::choose(gpu, step.rows()) }
    }
}

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

/// `rows` rows of a matrix as `[batch, rows / batch]`, which is how the attention counts them.
fn by_sentence(matrix: Matrix<'_>, beam: usize) -> Matrix<'_> {
    Matrix { batch_stride: beam * matrix.stride, ..matrix }
}

fn run(tensor: &Tensor, offset: usize, stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset, stride, batch_stride: 0 }
}

impl DecoderStep {
    fn rows(&self) -> usize {
        self.batch * self.beam
    }

    fn attention(&self) -> AdditiveAttention {
        let Self { batch, beam, keys, size, annotation, .. } = *self;
        AdditiveAttention { batch, queries: beam, keys, size, value_size: annotation }
    }

    fn attention_inputs<'a>(&self, inputs: &StepInputs<'a>, queries: Matrix<'a>) -> additive_attention::Inputs<'a> {
        let StepInputs { key, annotation, lengths, energy, .. } = *inputs;
        additive_attention::Inputs { query: by_sentence(queries, self.beam), key, energy, value: annotation, lengths }
    }

    fn check(&self, inputs: &StepInputs<'_>) -> Result<()> {
        expect(OPERATION, "query_weight", inputs.query_weight, &[self.size, self.hidden])?;
        inputs.cell.expect(OPERATION, self.word + self.annotation, self.hidden)
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
        cell.expect(OPERATION, self.word + self.annotation, self.hidden)?;
        let product =
            Matmul { m: rows, n: 3 * self.hidden, k: self.word, batch: 1, transpose_b: true, ..Matmul::default() };
        let tile = matmul::Tile::choose(recorder.gpu(), rows);
        let weight = run(cell.weight_ih, 0, self.word + self.annotation);
        product.record(recorder, tile, words, weight, Some(cell.bias_ih), gi)
    }

    /// Records the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &StepInputs<'_>,
        tensors: &StepTensors<'_>,
    ) -> Result<()> {
        let Self { beam, hidden, size, annotation, .. } = *self;
        let StepTensors { gi, states, from, to, queries, features, weights, gates, gates_offset } = *tensors;
        let rows = self.rows();
        self.check(inputs)?;
        expect_matrix(OPERATION, "features", &features, [1, rows, hidden + annotation])?;
        let projection = Matmul { m: rows, n: size, k: hidden, batch: 1, transpose_b: true, ..Matmul::default() };
        let small = matmul::Tile::choose(recorder.gpu(), rows);
        let (state, query_weight) = (run(states, from, hidden), run(inputs.query_weight, 0, hidden));
        projection.record(recorder, small, state, query_weight, None, queries)?;

        let attention = self.attention_inputs(inputs, queries);
        let context = features.offset(hidden);
        let weights = weights.map(|weights| by_sentence(weights, beam));
        self.attention().record(recorder, tile.attention, &attention, by_sentence(context, beam), weights)?;

        let step = CellStep {
            gi,
            weight_hh: inputs.cell.weight_hh,
            bias_hh: inputs.cell.bias_hh,
            states,
            from,
            to,
            y: features,
            gates,
            gates_offset,
            context: Some(Context {
                weight_ih: inputs.cell.weight_ih,
                offset: context.offset,
                size: annotation,
            }),
            valid: None,
        };
        Cell { rows, hidden }.record(recorder, tile.cell, &step)
    }
}

/// The whole loop, as in [`crate::reference::attentional_decoder::AttentionalDecoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionalDecoder {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Target steps, T.
    pub steps: usize,
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

/// What [`AttentionalDecoder`] reads. Keys and annotations past a row's length have no effect.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, E]`, the embedded target words, shifted right.
    pub words: &'a Tensor,
    /// `[B, H]`, the state before the first step; the backward pass does not read it.
    pub state0: &'a Tensor,
    /// `[B, S, A]`, the projected annotations, their bias included.
    pub key: &'a Tensor,
    /// `[B, S, V]`, the encoder's outputs.
    pub annotation: &'a Tensor,
    /// `[B]`, u32, how many annotations of each row are valid.
    pub lengths: &'a Tensor,
    /// `[A, H]`, the projection of the state to a query.
    pub query_weight: &'a Tensor,
    /// `[A]`, the attention's vector v.
    pub energy: &'a Tensor,
    /// The cell on `[word; context]`: `weight_ih` is `[3H, E+V]`.
    pub cell: Weights<'a>,
}

impl<'a> Inputs<'a> {
    fn of_step(&self) -> StepInputs<'a> {
        let Self { key, annotation, lengths, query_weight, energy, cell, .. } = *self;
        StepInputs { key, annotation, lengths, query_weight, energy, cell }
    }
}

/// What [`AttentionalDecoder::record`] computes; the backward pass reads all of it.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, T, H+V+E]`: the new state, its context, its word.
    pub features: &'a Tensor,
    /// `[B, T, S]`, the attention's weights.
    pub weights: &'a Tensor,
    /// `[T+1, B, H]`, the states before each step and after the last.
    pub states: &'a Tensor,
    /// `[T, B, 4H]`: r, z, n and W_hn h + b_hn.
    pub gates: &'a Tensor,
    /// `[T, B, A]`, the queries.
    pub queries: &'a Tensor,
}

/// Gradients: those of features and weights come in, the others go out, overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, H+V+E]`, read.
    pub features: &'a Tensor,
    /// `[B, T, S]`, read, where the weights themselves are used (guided alignment, coverage).
    pub weights: Option<&'a Tensor>,
    /// `[B, T, E]`.
    pub words: &'a Tensor,
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
    /// Of the cell's parameters.
    pub cell: WeightGradients<'a>,
}

impl AttentionalDecoder {
    /// The shape of [`Outputs::states`].
    pub fn states_shape(&self) -> [usize; 3] {
        [self.steps + 1, self.batch, self.hidden]
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
        self.batch * self.steps * 3 * self.hidden
    }

    /// Elements of the backward pass's seven scratch tensors, each in a buffer of its own.
    pub fn backward_scratch(&self) -> [usize; 7] {
        let (rows, products) = (self.batch * self.steps, self.products());
        let sums = self.column_sum(products).scratch();
        [
            rows * products,
            products * self.hidden,
            rows * 3 * self.hidden,
            rows * self.annotation,
            rows * self.keys,
            self.attention().scratch().max(sums),
            products,
        ]
    }

    /// What each state is multiplied with: the rows of W_hh and of the query's projection.
    fn products(&self) -> usize {
        3 * self.hidden + self.size
    }

    fn features(&self) -> usize {
        self.hidden + self.annotation + self.word
    }

    fn column_sum(&self, columns: usize) -> ColumnSum {
        ColumnSum { rows: self.batch * self.steps, columns }
    }

    fn step(&self) -> DecoderStep {
        let Self { batch, keys, word, hidden, size, annotation, .. } = *self;
        DecoderStep { batch, beam: 1, keys, word, hidden, size, annotation }
    }

    fn attention(&self) -> AdditiveAttention {
        AdditiveAttention { queries: self.steps, ..self.step().attention() }
    }

    /// Step `t` of a tensor `[B, T, width]`, as one row for each sentence.
    fn at<'a>(&self, tensor: &'a Tensor, width: usize, t: usize) -> Matrix<'a> {
        Matrix { tensor, offset: t * width, stride: self.steps * width, batch_stride: self.steps * width }
    }

    /// A tensor `[B, T, width]`.
    fn all<'a>(&self, tensor: &'a Tensor, width: usize) -> Matrix<'a> {
        Matrix { tensor, offset: 0, stride: width, batch_stride: self.steps * width }
    }

    fn check(&self, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let Self { batch, steps, keys, word, .. } = *self;
        self.step().check(&inputs.of_step())?;
        expect(OPERATION, "words", inputs.words, &[batch, steps, word])?;
        expect(OPERATION, "features", outputs.features, &[batch, steps, self.features()])?;
        expect(OPERATION, "weights", outputs.weights, &[batch, steps, keys])?;
        expect(OPERATION, "states", outputs.states, &self.states_shape())?;
        expect(OPERATION, "gates", outputs.gates, &self.gates_shape())?;
        expect(OPERATION, "queries", outputs.queries, &self.queries_shape())
    }

    /// Records the outputs. `scratch` has [`AttentionalDecoder::scratch`] elements.
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
        let Self { batch, steps, keys, word, hidden, size, annotation } = *self;
        self.check(inputs, outputs)?;
        expect(OPERATION, "state0", inputs.state0, &[batch, hidden])?;
        expect_scratch(OPERATION, scratch, self.scratch())?;
        let (rows, state) = (batch * steps, batch * hidden);
        let words = run(inputs.words, 0, word);
        let beside = run(outputs.features, hidden + annotation, self.features());
        Copy { rows, columns: word, batch: 1 }.record(recorder, words, None, beside)?;
        let (state0, first) = (run(inputs.state0, 0, hidden), run(outputs.states, 0, hidden));
        Copy { rows: batch, columns: hidden, batch: 1 }.record(recorder, state0, None, first)?;
        self.step().record_words(recorder, rows, &inputs.cell, words, run(scratch, 0, 3 * hidden))?;
        for t in 0..steps {
            let tensors = StepTensors {
                gi: self.at(scratch, 3 * hidden, t),
                states: outputs.states,
                from: t * state,
                to: (t + 1) * state,
                queries: run(outputs.queries, t * batch * size, size),
                features: self.at(outputs.features, self.features(), t),
                weights: Some(self.at(outputs.weights, keys, t)),
                gates: outputs.gates,
                gates_offset: t * 4 * state,
            };
            self.step().record(recorder, tile, &inputs.of_step(), &tensors)?;
        }
        Ok(())
    }

    /// Records the gradients. `scratch` are tensors of [`AttentionalDecoder::backward_scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as documented, and what [`Recorder::dispatch`] reports.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        scratch: [&Tensor; 7],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation } = *self;
        self.check(inputs, outputs)?;
        expect(OPERATION, "d_features", gradients.features, &[batch, steps, self.features()])?;
        if let Some(d_weights) = gradients.weights {
            expect(OPERATION, "d_weights", d_weights, &[batch, steps, keys])?;
        }
        expect(OPERATION, "d_words", gradients.words, &[batch, steps, word])?;
        expect(OPERATION, "d_state0", gradients.state0, &[batch, hidden])?;
        expect(OPERATION, "d_query_weight", gradients.query_weight, &[size, hidden])?;
        gradients.cell.expect(OPERATION, word + annotation, hidden)?;
        for (scratch, elements) in scratch.into_iter().zip(self.backward_scratch()) {
            expect_scratch(OPERATION, scratch, elements)?;
        }
        let (rows, products, gates, width) = (batch * steps, self.products(), 3 * hidden, word + annotation);
        let [d_recurrent, weight, d_gi, d_context, d_energy, work, bias] = scratch;
        let (d_recurrent, d_gi) = (front(d_recurrent, [rows, products]), front(d_gi, [rows, gates]));
        let (weight, bias) = (front(weight, [products, hidden]), front(bias, [products]));

        // One matrix for all that a state is multiplied with, so that the gradient of the state is one product a step.
        let copy = |rows, columns| Copy { rows, columns, batch: 1 };
        copy(gates, hidden).record(recorder, run(inputs.cell.weight_hh, 0, hidden), None, run(&weight, 0, hidden))?;
        let below = run(&weight, gates * hidden, hidden);
        copy(size, hidden).record(recorder, run(inputs.query_weight, 0, hidden), None, below)?;
        let of_features = |tensor, offset| run(tensor, offset, self.features());
        let d_contexts = of_features(gradients.features, hidden);
        copy(rows, annotation).record(recorder, d_contexts, None, run(d_context, 0, annotation))?;
        let d_words = of_features(gradients.features, hidden + annotation);
        copy(rows, word).record(recorder, d_words, None, run(gradients.words, 0, word))?;

        for t in (0..steps).rev() {
            self.record_step_backward(recorder, tile, inputs, outputs, gradients, t, [
                &weight, &d_recurrent, &d_gi, d_context, d_energy,
            ])?;
        }

        let gpu = recorder.gpu().clone();
        let choose = |m| matmul::Tile::choose(&gpu, m);
        let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
        let onto = Matmul { accumulate: true, ..product(batch, hidden, products) };
        let (recurrent, d_state0) = (run(&d_recurrent, 0, products), run(gradients.state0, 0, hidden));
        onto.record(recorder, choose(batch), recurrent, run(&weight, 0, hidden), None, d_state0)?;
        let onto = Matmul { accumulate: true, ..product(rows, word, gates) };
        let (of_gi, d_words) = (run(&d_gi, 0, gates), run(gradients.words, 0, word));
        onto.record(recorder, choose(rows), of_gi, run(inputs.cell.weight_ih, 0, width), None, d_words)?;

        let (states, words) = (run(outputs.states, 0, hidden), run(inputs.words, 0, word));
        let contexts = of_features(outputs.features, hidden);
        for (m, n, left, right, to) in [
            (gates, hidden, recurrent, states, run(gradients.cell.weight_hh, 0, hidden)),
            (size, hidden, recurrent.offset(gates), states, run(gradients.query_weight, 0, hidden)),
            (gates, word, of_gi, words, run(gradients.cell.weight_ih, 0, width)),
            (gates, annotation, of_gi, contexts, run(gradients.cell.weight_ih, word, width)),
        ] {
            let product = Matmul { transpose_a: true, ..product(m, n, rows) };
            product.record(recorder, choose(m), left, right, None, to)?;
        }
        self.column_sum(gates).record(recorder, &d_gi, work, gradients.cell.bias_ih)?;
        self.column_sum(products).record(recorder, &d_recurrent, work, &bias)?;
        copy(1, gates).record(recorder, run(&bias, 0, gates), None, run(gradients.cell.bias_hh, 0, gates))?;

        let queries = Matrix { tensor: outputs.queries, offset: 0, stride: batch * size, batch_stride: size };
        let attention = additive_attention::Inputs {
            query: queries,
            ..self.step().attention_inputs(&inputs.of_step(), queries)
        };
        self.attention().record_backward_key(
            recorder,
            tile.keys,
            &attention,
            self.all(outputs.weights, keys),
            self.all(d_context, annotation),
            self.all(d_energy, keys),
            work,
            gradients.key,
            gradients.energy,
            gradients.annotation,
        )
    }

    /// Step `t`: the gates, then the context, then the attention down to the query.
    #[allow(clippy::too_many_arguments, reason = "one step of the loop above, with all that it has made")]
    fn record_step_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        gradients: &Gradients<'_>,
        t: usize,
        [weight, d_recurrent, d_gi, d_context, d_energy]: [&Tensor; 5],
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation } = *self;
        let (state, gates, products) = (batch * hidden, 3 * hidden, self.products());
        let own = t * batch * products;
        let step = CellBackward {
            weight,
            d_recurrent,
            next: (t + 1 < steps).then_some(own + batch * products),
            own,
            d_gi: self.at(d_gi, gates, t),
            d_y: self.at(gradients.features, self.features(), t),
            states: outputs.states,
            from: t * state,
            gates: outputs.gates,
            gates_offset: t * 4 * state,
            carry: gradients.state0,
            carry_offset: 0,
            has_carry: t + 1 < steps,
            valid: None,
        };
        Cell { rows: batch, hidden }.record_backward(recorder, tile.cell, &step)?;

        let d_context = self.at(d_context, annotation, t);
        let product = Matmul { m: batch, n: annotation, k: gates, batch: 1, accumulate: true, ..Matmul::default() };
        let small = matmul::Tile::choose(recorder.gpu(), batch);
        let from_context = run(inputs.cell.weight_ih, word, word + annotation);
        let one = |matrix: Matrix<'_>| Matrix { batch_stride: 0, ..matrix };
        product.record(recorder, small, one(self.at(d_gi, gates, t)), from_context, None, one(d_context))?;

        let queries = run(outputs.queries, t * batch * size, size);
        let attention = self.step().attention_inputs(&inputs.of_step(), queries);
        self.step().attention().record_backward_query(
            recorder,
            tile.attention,
            &attention,
            self.at(outputs.weights, keys, t),
            d_context,
            gradients.weights.map(|d_weights| self.at(d_weights, keys, t)),
            self.at(d_energy, keys, t),
            by_sentence(run(d_recurrent, own + gates, products), 1),
        )
    }
}
