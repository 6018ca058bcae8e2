//! The teacher-forced loop of the attentional decoder: [`crate::kernels::attentional_decoder`] as nodes.

use super::{
    Context, Graph, GruInput, GruWeights, InPlace, Operation, Value,
    gru::{self, Cell, Sequence},
    operands::{missing, operands, split},
};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::{
        attentional_decoder::{self, AttentionalDecoder, Gradients, Inputs, Outputs, Tiles},
        gru::{Input, Tokens},
    },
};

/// Inputs and weights of [`Graph::attentional_decoder`].
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs {
    /// The embedded words fed in, `[B, T, E]`; or the rows of a table `[V, E]` that tokens `[B, T]` name: the table is then multiplied
    /// with the cell's weights, and tokens pick from the product. It pays where the table is small.
    pub words: GruInput,
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
    /// A dropout mask `[B, H]`, the same at every step, without a gradient: multiplies the state where the query and the gates
    /// read it.
    pub mask: Option<Value>,
}

/// Outputs of [`Graph::attentional_decoder`].
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
    /// Scratch for words given as tokens.
    fn scratch(&self) -> Vec<(Shape, Dtype)> {
        let gates = 3 * self.decoder.hidden;
        self.vocabulary.map_or(vec![], |vocabulary| vec![gru::token_scratch(vocabulary, gates)])
    }

    /// The number of the forward's inputs.
    fn inputs(&self) -> usize {
        let options = usize::from(self.vocabulary.is_some()) + usize::from(self.decoder.masked);
        ForwardInputs::<Value>::COUNT + Cell::<Value>::COUNT + options
    }

    /// The inputs of the forward, and those that follow.
    fn operands<'a, T>(&self, list: &'a [T]) -> Result<(Operands<&'a T>, &'a [T])> {
        let (given, list) = ForwardInputs::first_of(list)?;
        let (cell, list) = Cell::first_of(list)?;
        let (tokens, list) = split(list, usize::from(self.vocabulary.is_some()))?;
        let (mask, list) = split(list, usize::from(self.decoder.masked))?;
        Ok((Operands { given, cell, tokens: tokens.first(), mask: mask.first() }, list))
    }
}

operands! {
    /// `words` may be the table.
    ForwardInputs { words, state0, key, annotation, lengths, query_weight, energy }
}
operands! {
    /// Scratch follows, and that of [`Tokens`] where there are any.
    ForwardOutputs { features, weights, states, gates, contributions, stacked }
}
operands! {
    /// Operands of the backward after those of the forward ([`Operands`]); the order of the tokens follows, if there are any, and
    /// d_weights may.
    BackwardInputs { features, weights, states, gates, contributions, stacked, d_features }
}
operands! {
    /// What becomes of d_features; gradients; those of the cell follow, then scratch.
    BackwardOutputs { features, words, state0, key, annotation, query_weight, energy }
}

/// All inputs of the forward, in the order of the fields.
#[derive(Clone, Copy, Debug)]
struct Operands<T> {
    given: ForwardInputs<T>,
    cell: Cell<T>,
    tokens: Option<T>,
    mask: Option<T>,
}

impl<T> Operands<T> {
    fn list(self) -> Vec<T> {
        let Self { given, cell, tokens, mask } = self;
        let mut list = given.list();
        list.extend(cell.list());
        list.extend(tokens);
        list.extend(mask);
        list
    }
}

impl<'a> Operands<&'a Tensor> {
    /// The kernel's inputs; `scratch` is that of the tokens, `order` what the backward knows them by.
    fn inputs(self, scratch: &'a [Tensor], order: Option<&'a Tensor>) -> Inputs<'a> {
        let ForwardInputs { words, state0, key, annotation, lengths, query_weight, energy } = self.given;
        let words = match (self.tokens, scratch.first()) {
            (Some(tokens), Some(scratch)) => Input::Tokens(Tokens { table: words, tokens, scratch, order }),
            _ => Input::Rows(words),
        };
        let (cell, mask) = (self.cell.weights(), self.mask);
        Inputs { words, state0, key, annotation, lengths, query_weight, energy, cell, mask }
    }
}

#[derive(Debug)]
struct Forward(Loop);

#[derive(Debug)]
struct Backward(Loop);

impl Graph {
    /// The decoder of Bahdanau et al. 2015 over a whole teacher-forced sequence: at each step attention with the previous
    /// state as the query, then a GRU cell on `[word; context]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn attentional_decoder(&mut self, inputs: &DecoderInputs) -> Result<DecoderOutputs> {
        const NAME: &str = "attentional_decoder";
        let DecoderInputs { words, state0, key, annotation, lengths, query_weight, energy, cell, mask } = *inputs;
        let dtype = self.dtype(state0).activation();
        let Sequence { x: words, tokens, vocabulary, extents } = self.expect_sequence(NAME, words, dtype)?;
        let [batch, steps, word] = extents;
        let [_, hidden] = self.expect(NAME, "state0", state0, dtype, [Some(batch), None])?;
        let [_, keys, size] = self.expect(NAME, "key", key, dtype, [Some(batch), None, None])?;
        let like = [Some(batch), Some(keys), None];
        let [_, _, value_size] = self.expect(NAME, "annotation", annotation, dtype, like)?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        self.expect(NAME, "query_weight", query_weight, Dtype::F32, [Some(size), Some(hidden)])?;
        self.expect_vector(NAME, "energy", energy, size)?;
        self.expect_cell(NAME, &cell, word + value_size, hidden)?;
        let (annotation_size, masked) = (value_size, mask.is_some());
        let zeroed = self.is_zero_past(annotation, lengths);
        let decoder =
            AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation: annotation_size, masked, zeroed };
        if let Some(mask) = mask {
            self.expect(NAME, "mask", mask, dtype, [Some(batch), Some(hidden)])?;
        }
        let given = ForwardInputs { words, state0, key, annotation, lengths, query_weight, energy };
        let operands = Operands { given, cell: cell.into(), tokens, mask };
        let decoder_loop = Loop { decoder, vocabulary };
        let mut made: Vec<(Shape, Dtype)> = vec![
            ([batch, steps, hidden + value_size + word].into(), dtype),
            ([batch, steps, keys].into(), Dtype::F32),
            (decoder.states_shape().into(), dtype),
            (decoder.gates_shape().into(), dtype),
            (decoder.contributions_shape().into(), dtype),
            (decoder.stacked_shape().into(), Dtype::F32),
        ];
        made.extend(decoder.scratch(dtype).map(|(elements, dtype)| (Shape::from([elements]), dtype)));
        made.extend(decoder_loop.scratch());
        let outputs = self.push_as(Forward(decoder_loop), &operands.list(), made);
        let (ForwardOutputs { features, weights, .. }, _) = ForwardOutputs::first_of(&outputs)?;
        Ok(DecoderOutputs { features: *features, weights: *weights })
    }

    /// Whether `x` `[B, S, ..]` is known to be 0 past the lengths of its rows.
    fn is_zero_past(&self, x: Value, lengths: Value) -> bool {
        self.nodes
            .iter()
            .filter(|node| node.outputs.first() == Some(&x))
            .any(|node| node.operation.zero_past().is_some_and(|input| node.inputs.get(input) == Some(&lengths)))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "attentional_decoder"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (operands, _) = self.0.operands(context.inputs)?;
        let (outputs, rest) = ForwardOutputs::first_of(context.outputs)?;
        let ForwardOutputs { features, weights, states, gates, contributions, stacked } = outputs;
        let (scratch, more) = rest.split_first_chunk().ok_or_else(|| missing(&["scratch"], rest.len()))?;
        let decoder = self.0.decoder;
        let tiles = Tiles::choose(recorder.gpu(), &decoder);
        let outputs = Outputs { features, weights, states, gates, contributions, stacked };
        // The first state has been put where the states begin.
        let state0 = &states.part(0, [decoder.batch, decoder.hidden], states.dtype())?;
        let operands = Operands { given: ForwardInputs { state0, ..operands.given }, ..operands };
        decoder.record(recorder, &tiles, &operands.inputs(more, None), &outputs, scratch)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let (Operands { given, cell, tokens, mask }, _) = self.0.operands(inputs)?;
        let ForwardInputs { words, state0, key, annotation, query_weight, energy, .. } = given;
        let (forward, _) = ForwardOutputs::first_of(outputs)?;
        let ForwardOutputs { features, weights, states, gates, contributions, stacked } = forward.map(|value| *value);
        let d_features = upstream[0].unwrap_or_else(|| graph.zeros_like(features));
        let saved = BackwardInputs { features, weights, states, gates, contributions, stacked, d_features };
        let mut from = [inputs, &saved.list()].concat();
        if let (Some(tokens), Some(vocabulary)) = (tokens, self.0.vocabulary) {
            from.push(gru::order(graph, *tokens, vocabulary)?);
        }
        from.extend(upstream[1]);
        let given = BackwardOutputs { features: &features, words, state0, key, annotation, query_weight, energy };
        let differentiable = given.list().into_iter().chain(cell.list());
        let mut made: Vec<_> = differentiable.map(|input| graph.like(*input)).collect();
        let scratch = self.0.decoder.backward_scratch(graph.dtype(*state0));
        made.extend(scratch.map(|(elements, dtype)| (Shape::from([elements]), dtype)));
        made.extend(self.0.scratch());
        let gradients = graph.push_as(Backward(self.0), &from, made);

        let some = |value: &Value| Some(*value);
        let (BackwardOutputs { words, state0, key, annotation, query_weight, energy, .. }, rest) =
            BackwardOutputs::first_of(&gradients)?;
        let (cell, _) = Cell::first_of(rest)?;
        let [words, state0, key, annotation] = [words, state0, key, annotation].map(some);
        let (lengths, [query_weight, energy]) = (None, [query_weight, energy].map(some));
        let given = ForwardInputs { words, state0, key, annotation, lengths, query_weight, energy };
        Ok(Operands { given, cell: cell.map(some), tokens: tokens.map(|_| None), mask: mask.map(|_| None) }.list())
    }

    fn in_place(&self) -> Option<InPlace> {
        // state0 where the states begin.
        Some(InPlace { input: 1, output: 2, offset: 0, keeps: true })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "attentional_decoder"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (operands, rest) = self.0.operands(context.inputs)?;
        let (saved, rest) = BackwardInputs::first_of(rest)?;
        let (order, d_weights) = split(rest, usize::from(self.0.vocabulary.is_some()))?;
        let BackwardInputs { features, weights, states, gates, contributions, stacked, .. } = saved;
        let (gradients, rest) = BackwardOutputs::first_of(context.outputs)?;
        let BackwardOutputs { features: d_features, words, state0, key, annotation, query_weight, energy } = gradients;
        let (cell, rest) = Cell::first_of(rest)?;
        let (scratch, more) = rest.split_first_chunk().ok_or_else(|| missing(&["scratch"], rest.len()))?;
        let cell = cell.weights();
        let gradients = Gradients { words, state0, key, annotation, query_weight, energy, cell };
        let backward = attentional_decoder::Backward {
            inputs: operands.inputs(more, order.first()),
            outputs: Outputs { features, weights, states, gates, contributions, stacked },
            d_features,
            d_weights: d_weights.first(),
        };
        let decoder = self.0.decoder;
        let tiles = Tiles::choose(recorder.gpu(), &decoder);
        decoder.record_backward(recorder, &tiles, &backward, scratch, &gradients)
    }

    fn in_place(&self) -> Option<InPlace> {
        // d_features is the last of the values that the backward pass always has.
        Some(InPlace::over(self.0.inputs() + BackwardInputs::<Value>::COUNT - 1))
    }
}
