//! The teacher-forced loop of the attentional decoder: [`crate::kernels::attentional_decoder`] as nodes.

use super::{Context, Graph, GruWeights, Operation, Value, gru};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::{
        attentional_decoder::{AttentionalDecoder, Gradients, Inputs, Saved, Tiles},
        gru::Tokens,
    },
};

/// What [`Graph::attentional_decoder`] takes.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs {
    /// The embedded words fed in, `[B, T, E]`.
    pub words: Value,
    /// The state before the first step, `[B, H]`.
    pub state0: Value,
    /// The projected annotations, bias included, `[B, S, A]`.
    pub key: Value,
    /// The annotations, `[B, S, V]`.
    pub annotation: Value,
    /// Source lengths, `[B]`.
    pub lengths: Value,
    /// Projects a state to a query, `[A, H]`.
    pub query_weight: Value,
    /// The energy vector v, `[A]` or `[1, A]`.
    pub energy: Value,
    /// The GRU cell on `[word; context]`, `weight_ih` `[3H, E + V]`.
    pub cell: GruWeights,
    /// `[B, H]`: multiplies the state where the query and the gates read it, at every step the same, and has no gradient; as
    /// [`Graph::gru`]'s.
    pub mask: Option<Value>,
}

/// What [`Graph::attentional_decoder`] returns.
#[derive(Clone, Copy, Debug)]
pub struct DecoderOutputs {
    /// `[state; context; word]`, `[B, T, H + V + E]`.
    pub features: Value,
    /// The alignment weights, `[B, T, S]`, f32 at any precision.
    pub weights: Value,
}

/// A decoder, and the rows V of its words' table if tokens are given.
#[derive(Clone, Copy, Debug)]
struct Loop {
    decoder: AttentionalDecoder,
    vocabulary: Option<usize>,
}

impl Loop {
    /// Inputs that every forward has.
    const INPUTS: usize = 11;

    /// Inputs of the forward, table, tokens and mask included.
    fn inputs(&self) -> usize {
        Self::INPUTS + if self.vocabulary.is_some() { 2 } else { 0 } + usize::from(self.decoder.masked)
    }

    /// Elements of what tokens need besides.
    fn scratch(&self) -> Vec<(Shape, Dtype)> {
        let AttentionalDecoder { batch, steps, hidden, .. } = self.decoder;
        self.vocabulary.map_or(vec![], |vocabulary| gru::token_scratch(batch * steps, vocabulary, hidden))
    }
}

/// Inputs: words, state0, key, annotation, lengths, query_weight, energy, four cell weights (table, tokens) (mask).
/// Outputs: features, weights, states, gates, queries, scratch (and three of scratch).
#[derive(Debug)]
struct Forward(Loop);

/// Inputs: those of the forward, then features, weights, states, gates, queries, d_features (and d_weights).
/// Outputs: gradients of words, state0, key, annotation, query_weight, energy, four cell weights (table); scratch.
#[derive(Debug)]
struct Backward(Loop);

impl Graph {
    /// The decoder of Bahdanau et al. 2015 over a whole teacher-forced sequence: at each step attention with the previous
    /// state as the query, then a GRU cell on `[word; context]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn attentional_decoder(&mut self, inputs: &DecoderInputs) -> Result<DecoderOutputs> {
        self.decoder_loop(inputs, None)
    }

    /// As [`Graph::attentional_decoder`], for words that are the rows of `table` `[V, E]` which `tokens` `[B, T]` name: the table
    /// is multiplied with the cell's weights, and tokens pick from the product. It pays where the table is small.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn attentional_decoder_of_tokens(
        &mut self,
        inputs: &DecoderInputs,
        table: Value,
        tokens: Value,
    ) -> Result<DecoderOutputs> {
        self.decoder_loop(inputs, Some([table, tokens]))
    }

    fn decoder_loop(&mut self, inputs: &DecoderInputs, named: Option<[Value; 2]>) -> Result<DecoderOutputs> {
        const NAME: &str = "attentional_decoder";
        let DecoderInputs { words, state0, key, annotation, lengths, query_weight, energy, cell, mask } = *inputs;
        let [batch, steps, word] = self.expect_float(NAME, "words", words, [None; 3])?;
        let dtype = self.dtype(words);
        let [_, hidden] = self.expect(NAME, "state0", state0, dtype, [Some(batch), None])?;
        let [_, keys, size] = self.expect(NAME, "key", key, dtype, [Some(batch), None, None])?;
        let like = [Some(batch), Some(keys), None];
        let [_, _, value_size] = self.expect(NAME, "annotation", annotation, dtype, like)?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        self.expect(NAME, "query_weight", query_weight, Dtype::F32, [Some(size), Some(hidden)])?;
        self.expect_vector(NAME, "energy", energy, size)?;
        self.expect_cell(NAME, &cell, word + value_size, hidden)?;
        let (annotation_size, masked) = (value_size, mask.is_some());
        let decoder =
            AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation: annotation_size, masked };
        let mut from = vec![words, state0, key, annotation, lengths, query_weight, energy];
        from.extend(cell.values());
        let mut vocabulary = None;
        if let Some([table, tokens]) = named {
            vocabulary = Some(self.expect(NAME, "table", table, Dtype::F32, [None, Some(word)])?[0]);
            self.expect(NAME, "tokens", tokens, Dtype::U32, [Some(batch), Some(steps)])?;
            from.extend([table, tokens]);
        }
        if let Some(mask) = mask {
            self.expect(NAME, "mask", mask, dtype, [Some(batch), Some(hidden)])?;
            from.push(mask);
        }
        let decoder_loop = Loop { decoder, vocabulary };
        let mut made: Vec<(Shape, Dtype)> = vec![
            ([batch, steps, hidden + value_size + word].into(), dtype),
            ([batch, steps, keys].into(), Dtype::F32),
            (decoder.states_shape().into(), dtype),
            (decoder.gates_shape().into(), dtype),
            (decoder.queries_shape().into(), dtype),
            ([decoder.scratch()].into(), dtype),
        ];
        made.extend(decoder_loop.scratch());
        let outputs = self.push_as(Forward(decoder_loop), &from, made);
        Ok(DecoderOutputs { features: outputs[0], weights: outputs[1] })
    }
}

fn inputs<'a>(decoder: &AttentionalDecoder, tensors: &'a [Tensor], scratch: &'a [Tensor]) -> Inputs<'a> {
    let (tensors, mask) = tensors.split_at(tensors.len() - usize::from(decoder.masked));
    let [words, state0, key, annotation, lengths, query_weight, energy, rest @ ..] = tensors else {
        unreachable!("seven inputs and a cell are pushed")
    };
    let cell = gru::weights(&rest[..4])[0];
    let tokens = match (&rest[4..], scratch.last_chunk()) {
        ([table, tokens], Some(scratch)) => Some(Tokens { table, tokens, scratch }),
        _ => None,
    };
    Inputs { words, tokens, state0, key, annotation, lengths, query_weight, energy, cell, mask: mask.first() }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "attentional_decoder"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [features, weights, states, gates, queries, scratch, more @ ..] = context.outputs else {
            unreachable!("six outputs are pushed")
        };
        let decoder = self.0.decoder;
        let tiles = Tiles::choose(recorder.gpu(), &decoder);
        let saved = Saved { states, gates, queries };
        let inputs = inputs(&decoder, context.inputs, more);
        decoder.record(recorder, &tiles, &inputs, features, weights, &saved, scratch)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let d_features = match upstream[0] {
            Some(d_features) => d_features,
            None => graph.zeros_like(outputs[0]),
        };
        let mut from = [inputs, &outputs[..5], &[d_features]].concat();
        from.extend(upstream[1]);
        // Neither lengths nor tokens nor the mask, which may stand in place of a table.
        let named = if self.0.vocabulary.is_some() { Loop::INPUTS + 1 } else { Loop::INPUTS };
        let differentiable = |index: &usize| *index != 4 && *index < named;
        let mut made: Vec<_> =
            (0..inputs.len()).filter(differentiable).map(|index| graph.like(inputs[index])).collect();
        let scratch = self.0.decoder.backward_scratch(graph.dtype(inputs[0]));
        made.extend(scratch.map(|(elements, dtype)| (Shape::from([elements]), dtype)));
        made.extend(self.0.scratch());
        let mut gradients = graph.push_as(Backward(self.0), &from, made).into_iter().map(Some);
        Ok((0..inputs.len())
            .map(|index| if differentiable(&index) { gradients.next().flatten() } else { None })
            .collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "attentional_decoder"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (forward, rest) = context.inputs.split_at(self.0.inputs());
        let [features, weights, states, gates, queries, d_features, d_weights @ ..] = rest else {
            unreachable!("outputs and gradients are pushed")
        };
        // All inputs but lengths and tokens have gradients.
        let count = if self.0.vocabulary.is_some() { Loop::INPUTS } else { Loop::INPUTS - 1 };
        let (gradients, scratch) = context.outputs.split_at(count);
        let Some((scratch, more)) = scratch.split_first_chunk() else {
            unreachable!("gradients and scratch are pushed")
        };
        let [words, state0, key, annotation, query_weight, energy, cell @ ..] = gradients else {
            unreachable!("ten gradients are pushed")
        };
        let (table, cell) = (cell.get(4), gru::weights(&cell[..4])[0]);
        let gradients = Gradients { words, table, state0, key, annotation, query_weight, energy, cell };
        let saved = Saved { states, gates, queries };
        let decoder = self.0.decoder;
        let tiles = Tiles::choose(recorder.gpu(), &decoder);
        decoder.record_backward(
            recorder,
            &tiles,
            &inputs(&decoder, forward, more),
            &saved,
            features,
            weights,
            d_features,
            d_weights.first(),
            scratch,
            &gradients,
        )
    }
}
