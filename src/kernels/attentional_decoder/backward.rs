//! The backward pass of the loop: the steps from the last to the first, then one product for each weight, over all of them.

use super::{AttentionalDecoder, Inputs, NAME, Outputs, Tiles, attended::AttendedBackward, record_copy, view};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Tensor, product},
    kernels::{
        additive_attention::{self, KeyGradients},
        expect::{expect, expect_of, expect_scratch_of},
        gate_input::{InputBackward, InputGradients},
        gru::{CellBackward, Input, Masking, WeightGradients},
        matmul::{Matmul, Matrix, Operands},
    },
};

/// The inputs of [`AttentionalDecoder::record_backward`].
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The forward pass's.
    pub inputs: Inputs<'a>,
    /// The forward pass's.
    pub outputs: Outputs<'a>,
    /// `[B, T, H + V + E]`; to the gradients of the contexts those are added that come through the gates.
    pub d_features: &'a Tensor,
    /// `[B, T, S]`, if the weights themselves are used.
    pub d_weights: Option<&'a Tensor>,
}

/// The gradients of [`Inputs`]; each is overwritten.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, E]` of embedded words; of tokens `[V, E]`, the table's.
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
    /// The cell's.
    pub cell: WeightGradients<'a>,
}

/// Tensors of the backward pass that hold nothing before or after it.
pub const BACKWARD_SCRATCH: usize = 4;

/// The scratch tensors by name, in the order of [`AttentionalDecoder::backward_scratch`].
#[derive(Clone, Copy, Debug)]
struct Scratch<'a> {
    /// `[T, B, K]`, of what either was multiplied into.
    d_recurrent: &'a Tensor,
    /// `[B, T, 3H]`.
    d_gi: &'a Tensor,
    /// `[B, T, S]`, of the weights by themselves, then of the scores.
    d_energy: &'a Tensor,
    attention: &'a Tensor,
}

impl<'a> Scratch<'a> {
    fn of(tensors: &'a [Tensor; BACKWARD_SCRATCH]) -> Self {
        let [d_recurrent, d_gi, d_energy, attention] = tensors;
        Self { d_recurrent, d_gi, d_energy, attention }
    }
}

/// A backward pass that is being recorded.
struct Pass<'a> {
    decoder: AttentionalDecoder,
    tiles: &'a Tiles,
    backward: Backward<'a>,
    scratch: Scratch<'a>,
    gradients: Gradients<'a>,
}

impl AttentionalDecoder {
    /// Elements and types of the backward pass's scratch tensors, each in a buffer of its own.
    pub fn backward_scratch(&self, dtype: Dtype) -> [(usize, Dtype); BACKWARD_SCRATCH] {
        let rows = product(&[self.batch, self.steps]);
        let one_more = if self.masked { self.batch } else { 0 };
        [
            (product(&[rows.saturating_add(one_more), self.products()]), dtype),
            (product(&[rows, 3, self.hidden]), dtype),
            (product(&[rows, self.keys]), Dtype::F32),
            (self.attention(self.steps).scratch(), Dtype::F32),
        ]
    }

    fn check_backward(
        &self,
        backward: &Backward<'_>,
        scratch: &[Tensor; BACKWARD_SCRATCH],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, steps, keys, word, hidden, size, annotation, .. } = *self;
        let Backward { inputs, outputs, d_features, d_weights } = backward;
        self.check(inputs, outputs)?;
        let dtype = inputs.dtype();
        expect_of(dtype, NAME, "d_features", d_features, &[batch, steps, self.features()])?;
        expect_of(dtype, NAME, "d_state0", gradients.state0, &[batch, hidden])?;
        match &inputs.words {
            Input::Rows(_) => expect_of(dtype, NAME, "d_words", gradients.words, &[batch, steps, word])?,
            Input::Tokens(tokens) => {
                expect_of(Dtype::F32, NAME, "d_words", gradients.words, &[tokens.table.elements()])?;
            }
        }
        expect(NAME, "d_query_weight", gradients.query_weight, &[size, hidden])?;
        gradients.cell.expect(NAME, word + annotation, hidden)?;
        if let Some(d_weights) = d_weights {
            expect_of(Dtype::F32, NAME, "d_weights", d_weights, &[batch, steps, keys])?;
        }
        for (scratch, (elements, dtype)) in scratch.iter().zip(self.backward_scratch(dtype)) {
            expect_scratch_of(dtype, NAME, scratch, elements)?;
        }
        Ok(())
    }

    /// Records the gradients. `scratch` are tensors of [`AttentionalDecoder::backward_scratch`] elements, in different buffers.
    ///
    /// # Errors
    /// As [`AttentionalDecoder::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tiles: &Tiles,
        backward: &Backward<'_>,
        scratch: &[Tensor; BACKWARD_SCRATCH],
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        self.check_backward(backward, scratch, gradients)?;
        let scratch = Scratch::of(scratch);
        let stacked = &self.stacked(recorder.gpu(), &backward.inputs, backward.outputs.stacked);
        let backward = Backward { outputs: Outputs { stacked, ..backward.outputs }, ..*backward };
        let pass = Pass { decoder: *self, tiles, backward, scratch, gradients: *gradients };
        pass.record_start(recorder)?;
        (0..self.steps).rev().try_for_each(|t| pass.record_step(recorder, t))?;
        pass.record_weights(recorder)?;
        pass.record_words(recorder)?;
        pass.record_keys(recorder)
    }
}

impl Pass<'_> {
    /// Columns of the gates, rows of all steps.
    fn sizes(&self) -> (usize, usize) {
        (3 * self.decoder.hidden, self.decoder.batch * self.decoder.steps)
    }

    fn masking(&self) -> Option<Masking> {
        self.decoder.dropout().map(|dropout| dropout.masking(0))
    }

    fn record_matmul(
        &self,
        recorder: &mut Recorder,
        product: Matmul,
        a: Matrix<'_>,
        b: Matrix<'_>,
        c: Matrix<'_>,
    ) -> Result<()> {
        product.record(recorder, self.tiles.all(product.m), &Operands { a, b, bias: None, c })
    }

    /// The gradients of the contexts, among those of the features.
    fn d_context(&self) -> Matrix<'_> {
        let AttentionalDecoder { steps, hidden, .. } = self.decoder;
        let width = self.decoder.features();
        view(self.backward.d_features, hidden, width, steps * width)
    }

    /// What the steps read: the gradients that weights have through the contexts and by themselves.
    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let AttentionalDecoder { batch, steps, keys, annotation, .. } = self.decoder;
        let Backward { inputs, d_weights, .. } = self.backward;
        let d_energy = self.scratch.d_energy;
        let (_, rows) = self.sizes();
        let (m, n, k, accumulate) = (steps, keys, annotation, d_weights.is_some());
        if let Some(d_weights) = d_weights {
            record_copy(recorder, [rows, keys], view(d_weights, 0, keys, 0), view(d_energy, 0, keys, 0))?;
        }
        let into_weights = Matmul { m, n, k, batch, transpose_b: true, accumulate, ..Matmul::default() };
        let (a, b) = (self.d_context(), view(inputs.annotation, 0, k, n * k));
        self.record_matmul(recorder, into_weights, a, b, view(d_energy, 0, n, m * n))
    }

    fn cell_step(&self, t: usize) -> CellBackward<'_> {
        let Self { decoder, backward, scratch, gradients, .. } = self;
        let (state, products) = (decoder.batch * decoder.hidden, decoder.products());
        let (own, more) = (t * decoder.batch * products, t + 1 < decoder.steps);
        CellBackward {
            weight: backward.outputs.stacked,
            d_recurrent: scratch.d_recurrent,
            recurrent_stride: products,
            next: more.then_some(own + decoder.batch * products),
            own,
            d_gi: decoder.step(scratch.d_gi, 3 * decoder.hidden, 0, t),
            d_y: decoder.step(backward.d_features, decoder.features(), 0, t),
            states: backward.outputs.states,
            from: t * state,
            gates: self.gates(t),
            carry: gradients.state0,
            carry_offset: 0,
            has_carry: more,
            masking: self.masking(),
            valid: None,
        }
    }

    /// Gates and queries of step `t`.
    fn gates(&self, t: usize) -> Matrix<'_> {
        let width = self.decoder.gates_width();
        view(self.backward.outputs.gates, t * self.decoder.batch * width, width, 0)
    }

    /// The gates, then the attention whose context they have read, as far as it goes to the query.
    fn record_step(&self, recorder: &mut Recorder, t: usize) -> Result<()> {
        let Self { decoder, tiles, backward: Backward { inputs, outputs, .. }, scratch, .. } = self;
        decoder.cell().record_backward(recorder, tiles.cell, &[self.cell_step(t)])?;
        let attended = AttendedBackward {
            contributions: outputs.contributions,
            key: inputs.key,
            energy: inputs.energy,
            weights: outputs.weights,
            d_gi: scratch.d_gi,
            gates: outputs.gates,
            d_score: scratch.d_energy,
            d_recurrent: scratch.d_recurrent,
        };
        decoder.record_attended_backward(recorder, &attended, t)
    }

    /// The contexts; the weights that these and the states were multiplied with; without a mask the state before the first step.
    fn record_weights(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { backward: Backward { inputs, outputs, .. }, scratch, gradients, .. } = self;
        let AttentionalDecoder { batch, word, hidden, annotation, .. } = self.decoder;
        let (products, (gates, rows)) = (self.decoder.products(), self.sizes());
        let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
        let masking = self.masking();
        let by_state = view(scratch.d_recurrent, 0, products, 0);
        if masking.is_none() {
            let into_state0 = Matmul { accumulate: true, ..product(batch, hidden, products) };
            let (weight, d_state0) = (view(outputs.stacked, 0, hidden, 0), view(gradients.state0, 0, hidden, 0));
            self.record_matmul(recorder, into_state0, by_state, weight, d_state0)?;
        }
        let transposed = |m, n| Matmul { transpose_a: true, ..product(m, n, rows) };
        self.record_stacked(recorder, by_state)?;
        let (by_input, contexts) =
            (view(scratch.d_gi, 0, gates, 0), view(outputs.features, hidden, self.decoder.features(), 0));
        let d_weight_ic = view(gradients.cell.weight_ih, word, word + annotation, 0);
        self.record_matmul(recorder, transposed(gates, annotation), by_input, contexts, d_weight_ic)?;
        let into_contexts = Matmul { accumulate: true, ..product(rows, annotation, gates) };
        let weight_ic = view(inputs.cell.weight_ih, word, word + annotation, 0);
        self.record_matmul(recorder, into_contexts, by_input, weight_ic, self.d_context())
    }

    /// What the states were multiplied with, and the recurrent biases.
    fn record_stacked(&self, recorder: &mut Recorder, by_state: Matrix<'_>) -> Result<()> {
        let Self { decoder, backward, gradients, .. } = self;
        let (hidden, size, (gates, k)) = (decoder.hidden, decoder.size, self.sizes());
        let states = view(backward.outputs.states, self.masking().map_or(0, |masking| masking.distance), hidden, 0);
        let transposed = |m| Matmul { m, n: hidden, k, batch: 1, transpose_a: true, ..Matmul::default() };
        let mut record_summed = |m: usize, into: &Tensor, sums: &Tensor| {
            let operands = Operands { a: by_state, b: states, bias: None, c: view(into, 0, hidden, 0) };
            transposed(m).record_summed(recorder, self.tiles.all(m), &operands, sums)
        };
        let (gpu, of_cell) = (&self.tiles.gpu, &gradients.cell);
        let weights = Tensor::joined(gpu, of_cell.weight_hh, gradients.query_weight, decoder.stacked_shape());
        // Queries have no bias: their sums lie where the energy vector's gradient will.
        let sums = Tensor::joined(gpu, of_cell.bias_hh, gradients.energy, [decoder.products()]);
        if let (Some(weights), Some(sums)) = (weights, sums) {
            return record_summed(decoder.products(), &weights, &sums);
        }
        record_summed(gates, of_cell.weight_hh, of_cell.bias_hh)?;
        let d_query_weight = view(gradients.query_weight, 0, hidden, 0);
        self.record_matmul(recorder, transposed(size), by_state.offset(gates), states, d_query_weight)
    }

    /// The words and what they were multiplied with, and with a mask the state before the first step.
    fn record_words(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { decoder, tiles, backward: Backward { inputs, d_features, .. }, scratch, gradients, .. } = self;
        let AttentionalDecoder { word, hidden, annotation, .. } = *decoder;
        let (_, rows) = self.sizes();
        let d_words = view(gradients.words, 0, word, 0);
        let of_features = view(d_features, hidden + annotation, decoder.features(), 0);
        match &inputs.words {
            Input::Rows(_) => record_copy(recorder, [rows, word], of_features, d_words)?,
            Input::Tokens(tokens) => {
                let embedding = decoder.embedding(tokens);
                embedding.record_backward(recorder, tokens.ordered()?, of_features, gradients.words)?;
            }
        }
        let of_input =
            InputGradients { weights: &[decoder.of_words(&gradients.cell)], input: d_words, accumulate: true };
        let weights = &[decoder.of_words(&inputs.cell)];
        let of_gates = InputBackward { input: inputs.words, weights, d_gi: scratch.d_gi };
        decoder.gate_input().record_backward(recorder, &of_gates, &of_input)?;
        if self.masking().is_some() {
            let into_state0 = self.cell_step(0).before(rows * decoder.products(), inputs.lengths);
            decoder.cell().record_backward(recorder, tiles.cell, &[into_state0])?;
        }
        Ok(())
    }

    /// Keys, annotations and the energy vector, from the attention of all steps.
    fn record_keys(&self, recorder: &mut Recorder) -> Result<()> {
        let Self { decoder, tiles, backward: Backward { inputs, outputs, .. }, scratch, gradients, .. } = self;
        let AttentionalDecoder { batch, steps, keys, hidden, .. } = *decoder;
        let width = decoder.gates_width();
        let attention = additive_attention::Backward {
            inputs: decoder.attention_inputs(inputs, view(outputs.gates, 4 * hidden, batch * width, width)),
            weights: view(outputs.weights, 0, keys, steps * keys),
            d_context: self.d_context(),
            d_weights: None,
            d_energy: view(scratch.d_energy, 0, keys, steps * keys),
        };
        let of_keys = KeyGradients { key: gradients.key, energy: gradients.energy, value: gradients.annotation };
        let of_all = decoder.attention(steps);
        of_all.record_backward_key(recorder, tiles.attention, &attention, scratch.attention, &of_keys)
    }
}
