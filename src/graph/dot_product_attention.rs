//! Multi-head scaled dot-product attention: [`crate::kernels::dot_product_attention`] as nodes.

use super::{
    Context, Graph, Operation, Value,
    operands::operands,
    sliding_window_attention::{Attention, Window},
};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::dot_product_attention::{
        DotProductAttention, Gradients, Heads, Inputs, Saved, WeightDropout, standard_scale,
    },
};

/// One of some equal parts of a value's columns: heads side by side in `[B, T, N·D]`, or in a part of what one projection has
/// made for several operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// `[B, T, parts·N·D]`.
    pub value: Value,
    /// Which part, from 0.
    pub part: usize,
    /// Into how many.
    pub parts: usize,
}

impl From<Value> for Columns {
    fn from(value: Value) -> Self {
        Self { value, part: 0, parts: 1 }
    }
}

/// What [`Graph::multi_head_attention`] attends with.
#[derive(Clone, Copy, Debug)]
pub struct MultiHeadAttention {
    /// `[B, T, N·D]`.
    pub query: Columns,
    /// `[B, S, N·D]`.
    pub key: Columns,
    /// `[B, S, N·D]`.
    pub value: Columns,
    /// `[B]`: how many keys of each sequence are valid.
    pub lengths: Value,
    /// Heads, N.
    pub heads: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// What products are multiplied with, where that is not 1 / sqrt(D).
    pub scale: Option<f32>,
    /// `[N, T + S - 1]`, f32: what the score of query t and key s gets added, at s - t + T - 1, such as
    /// [`Graph::relative_position_bias`] makes.
    pub bias: Option<Value>,
    /// The keys that a query sees of those it would see otherwise, where that is not all of them; there is no bias then.
    pub window: Option<Window>,
    /// The share of weights that dropout takes.
    pub dropout: f32,
}

impl MultiHeadAttention {
    /// Attention of `heads` heads over all valid keys, with the standard scale.
    pub fn new(
        query: impl Into<Columns>,
        key: impl Into<Columns>,
        value: impl Into<Columns>,
        lengths: Value,
        heads: usize,
    ) -> Self {
        let (query, key, value) = (query.into(), key.into(), value.into());
        Self { query, key, value, lengths, heads, causal: false, scale: None, bias: None, window: None, dropout: 0.0 }
    }

    /// Self-attention whose queries, keys and values are the three parts, in this order, of `projected` `[B, T, 3·N·D]`.
    pub fn within(projected: Value, lengths: Value, heads: usize) -> Self {
        let [query, key, value] = [0, 1, 2].map(|part| Columns { value: projected, part, parts: 3 });
        Self::new(query, key, value, lengths, heads)
    }
}

/// The outcome of [`Graph::multi_head_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attended {
    /// `[B, T, N·D]`.
    pub context: Value,
    /// `[B, N, T]`, f32: the logarithm of each query's softmax denominator, from which the weights can be made again. It carries
    /// no gradient.
    pub log_sum_exp: Value,
}

operands! {
    /// A bias or global positions may follow.
    ForwardInputs { query, key, value, lengths }
}
operands! { ForwardOutputs { context, log_sum_exp } }
operands! {
    /// A bias or global positions may follow.
    BackwardInputs { query, key, value, lengths, context, log_sum_exp, d_context }
}
operands! {
    /// The gradients follow, one for each value that has queries, keys or values in it, and those of [`BiasOutputs`].
    BackwardOutputs { statistics }
}
operands! { BiasOutputs { d_bias, parts } }

/// Where an operand's heads lie in its tensor.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// One after the other.
    Apart,
    /// Side by side, from this column on.
    SideBySide(usize),
}

impl Place {
    fn heads(self, tensor: &Tensor, size: usize) -> Heads<'_> {
        match self {
            Self::Apart => Heads::apart(tensor),
            Self::SideBySide(first) => Heads::side_by_side(tensor, first, size),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Forward {
    attention: Attention,
    /// Of query, key and value.
    places: [Place; 3],
    context: Place,
}

#[derive(Debug)]
struct Backward {
    forward: Forward,
    /// Which of the gradients has the columns of query, key and value.
    owners: [usize; 3],
}

impl Graph {
    /// `softmax(query·keyᵀ / sqrt(D))·value` per head (Vaswani et al. 2017, section 3.2.1) for `query` `[B, N, T, D]`, `key` and
    /// `value` `[B, N, S, D]`, masked by `lengths` `[B]` and, if `causal`, to `s <= t`: `[B, N, T, D]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn dot_product_attention(
        &mut self,
        query: Value,
        key: Value,
        value: Value,
        lengths: Value,
        causal: bool,
    ) -> Result<Value> {
        const NAME: &str = "dot_product_attention";
        let [batch, heads, queries, size] = self.expect_float(NAME, "query", query, [None; 4])?;
        let like = [Some(batch), Some(heads), None, Some(size)];
        let dtype = self.dtype(query);
        let [_, _, keys, _] = self.expect(NAME, "key", key, dtype, like)?;
        self.expect(NAME, "value", value, dtype, [Some(batch), Some(heads), Some(keys), Some(size)])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let attention = DotProductAttention {
            batch,
            heads,
            queries,
            keys,
            size,
            causal,
            scale: standard_scale(size),
            dropout: None,
        };
        let attention = Attention::Whole(attention);
        let forward = Forward { attention, places: [Place::Apart; 3], context: Place::Apart };
        let shape = self.shape(query).clone();
        Ok(self.attend(forward, ForwardInputs { query, key, value, lengths }, None, shape).context)
    }

    /// Multi-head attention (Vaswani et al. 2017, section 3.2.2) between its projections, which are matmuls of the caller's: the
    /// heads are read and written where they lie in the columns of query, key, value and context. A value of which a part is an
    /// operand must have an operand in each part.
    ///
    /// # Errors
    /// [`Error::Shape`], also for heads that do not divide the width, and for parts that no operand uses.
    pub fn multi_head_attention(&mut self, attention: &MultiHeadAttention) -> Result<Attended> {
        const NAME: &str = "multi_head_attention";
        let MultiHeadAttention { query, key, value, lengths, heads, causal, scale, bias, window, dropout } = *attention;
        let [batch, queries, width] = self.expect_columns("query", query, [None; 3])?;
        let [_, keys, _] = self.expect_columns("key", key, [Some(batch), None, Some(width)])?;
        self.expect_columns("value", value, [Some(batch), Some(keys), Some(width)])?;
        let dtype = self.dtype(query.value);
        for (argument, operand) in [("key", key), ("value", value)] {
            self.expect(NAME, argument, operand.value, dtype, [None; 3])?;
        }
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        expect_every_part(&[query, key, value])?;
        if heads == 0 || width % heads != 0 {
            let (wanted, got) = (format!("a number that divides the width {width}"), heads.to_string());
            return Err(Error::Shape { operation: NAME, argument: "heads", wanted, got });
        }
        if let Some(bias) = bias {
            self.expect(NAME, "bias", bias, Dtype::F32, [Some(heads), Some(queries + keys - 1)])?;
        }
        if let (Some(_), Some(_)) = (bias, window) {
            let (wanted, got) = ("none where there is a window".into(), "one".into());
            return Err(Error::Shape { operation: NAME, argument: "bias", wanted, got });
        }
        let dropout = self.weight_dropout(NAME, dropout)?;
        let size = width / heads;
        let scale = scale.unwrap_or_else(|| standard_scale(size));
        let attention = DotProductAttention { batch, heads, queries, keys, size, causal, scale, dropout };
        let attention = match window {
            Some(window) => Attention::Window(window.operation(self, attention)?),
            None => Attention::Whole(attention),
        };
        let forward = Forward {
            attention,
            places: [query, key, value].map(|operand| Place::SideBySide(operand.part * width)),
            context: Place::SideBySide(0),
        };
        let globals = window.and_then(|window| window.globals);
        let inputs = ForwardInputs { query: query.value, key: key.value, value: value.value, lengths };
        Ok(self.attend(forward, inputs, bias.or(globals), [batch, queries, width].into()))
    }

    /// Dropout of the weights of the attention that is the next node.
    pub(super) fn weight_dropout(&self, operation: &'static str, rate: f32) -> Result<Option<WeightDropout>> {
        if !(0.0..1.0).contains(&rate) {
            let (wanted, got) = ("0 or more and less than 1".into(), rate.to_string());
            return Err(Error::Shape { operation, argument: "dropout", wanted, got });
        }
        Ok((rate > 0.0).then_some(WeightDropout { rate, operation: self.nodes.len() as u32 }))
    }

    fn attend(
        &mut self,
        forward: Forward,
        inputs: ForwardInputs<Value>,
        besides: Option<Value>,
        context: Shape,
    ) -> Attended {
        let DotProductAttention { batch, heads, queries, .. } = *forward.attention.sizes();
        let made = [(context, self.dtype(inputs.query)), ([batch, heads, queries].into(), Dtype::F32)];
        let inputs: Vec<_> = inputs.list().into_iter().chain(besides).collect();
        let outputs = self.push_as(forward, &inputs, made);
        Attended { context: outputs[0], log_sum_exp: outputs[1] }
    }

    /// Batch, steps and width of an operand.
    fn expect_columns(
        &self,
        argument: &'static str,
        Columns { value, part, parts }: Columns,
        [batch, steps, width]: [Option<usize>; 3],
    ) -> Result<[usize; 3]> {
        const NAME: &str = "multi_head_attention";
        let wide = width.map(|width| width * parts);
        let [batch, steps, columns] = self.expect_float(NAME, argument, value, [batch, steps, wide])?;
        if part < parts && columns % parts == 0 {
            return Ok([batch, steps, columns / parts]);
        }
        let (wanted, got) =
            (format!("one of some equal parts of {columns} columns"), format!("part {part} of {parts}"));
        Err(Error::Shape { operation: NAME, argument, wanted, got })
    }
}

/// One gradient serves the operands in the parts of one value: none of its columns may be missing, or be there twice.
fn expect_every_part(operands: &[Columns; 3]) -> Result<()> {
    for operand in operands.iter().filter(|operand| operand.parts > 1) {
        let of_value = |other: &&Columns| other.value == operand.value;
        let mut parts: Vec<_> = operands.iter().filter(of_value).map(|other| (other.part, other.parts)).collect();
        parts.sort_unstable();
        if parts != (0..operand.parts).map(|part| (part, operand.parts)).collect::<Vec<_>>() {
            return Err(Error::Shape {
                operation: "multi_head_attention",
                argument: "columns",
                wanted: format!("an operand in each of {} parts of a value", operand.parts),
                got: format!("operands in {parts:?}"),
            });
        }
    }
    Ok(())
}

impl Forward {
    fn inputs<'a>(&self, inputs: ForwardInputs<&'a Tensor>, step: &'a Tensor) -> Inputs<'a> {
        let ForwardInputs { query, key, value, lengths } = inputs;
        let [query, key, value] = self.heads([query, key, value]);
        Inputs { query, key, value, lengths, bias: None, step }
    }

    /// The heads of query, key and value, or of their gradients.
    fn heads<'a>(&self, tensors: [&'a Tensor; 3]) -> [Heads<'a>; 3] {
        std::array::from_fn(|index| self.places[index].heads(tensors[index], self.attention.sizes().size))
    }

    fn of_context<'a>(&self, tensor: &'a Tensor) -> Heads<'a> {
        self.context.heads(tensor, self.attention.sizes().size)
    }

    /// The bias, if there is one, of what follows the operands.
    fn bias<'a, T>(&self, besides: &'a [T]) -> &'a [T] {
        match self.attention {
            Attention::Whole(_) => besides,
            Attention::Window(_) => &[],
        }
    }

    /// Which of the gradients each operand's is in: one for all parts of a value, else one for each operand.
    fn owners(&self, operands: [Value; 3]) -> [usize; 3] {
        let mut owners = [0; 3];
        for index in 1..3 {
            let is_part = |other: &usize| operands[*other] == operands[index] && !self.is_alone(*other, index);
            let shared = (0..index).find(is_part).map(|other| owners[other]);
            owners[index] = shared.unwrap_or_else(|| owners[..index].iter().max().map_or(0, |last| last + 1));
        }
        owners
    }

    /// Whether two operands of one value are both all of it.
    fn is_alone(&self, one: usize, other: usize) -> bool {
        match (self.places[one], self.places[other]) {
            (Place::SideBySide(first), Place::SideBySide(second)) => first == second,
            _ => true,
        }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        self.attention.name()
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (inputs, besides) = ForwardInputs::first_of(context.inputs)?;
        let inputs = self.inputs(inputs, context.step);
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(context.outputs)?;
        self.attention.record(recorder, inputs, besides.first(), self.of_context(context), log_sum_exp)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_context) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let (operands, besides) = ForwardInputs::first_of(inputs)?;
        let bias = self.bias(besides);
        let ForwardInputs { query, key, value, lengths } = operands.map(|value| *value);
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(outputs)?.map(|value| *value);
        let operands = [query, key, value];
        let owners = self.owners(operands);
        let mut made = vec![([self.attention.sizes().statistics()].into(), Dtype::F32)];
        let first_of = |owner: &usize| owners.iter().position(|other| other == owner);
        made.extend((0..3).filter_map(|owner| first_of(&owner)).map(|first| graph.like(operands[first])));
        let from = BackwardInputs { query, key, value, lengths, context, log_sum_exp, d_context };
        for bias in bias {
            made.extend([graph.like(*bias), ([self.attention.sizes().bias_parts()].into(), Dtype::F32)]);
        }
        let from = [from.list().as_slice(), besides].concat();
        let gradients = graph.push_as(Backward { forward: *self, owners }, &from, made);
        let of_operand = |index: usize| {
            (first_of(&owners[index]) == Some(index)).then(|| gradients[BackwardOutputs::<()>::COUNT + owners[index]])
        };
        let d_bias = bias.first().and_then(|_| gradients.iter().rev().nth(1).copied());
        let of_besides = besides.iter().map(|_| d_bias);
        Ok([of_operand(0), of_operand(1), of_operand(2), None].into_iter().chain(of_besides).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        self.forward.attention.name()
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (BackwardOutputs { statistics }, gradients) = BackwardOutputs::first_of(context.outputs)?;
        let (operands, besides) = BackwardInputs::first_of(context.inputs)?;
        let BackwardInputs { query, key, value, lengths, context: made, log_sum_exp, d_context } = operands;
        let Self { forward, owners } = self;
        let inputs = ForwardInputs { query, key, value, lengths };
        let inputs = forward.inputs(inputs, context.step);
        let saved = Saved {
            context: forward.of_context(made),
            log_sum_exp,
            d_context: forward.of_context(d_context),
            statistics,
        };
        let [query, key, value] = forward.heads(owners.map(|owner| &gradients[owner]));
        let bias = match forward.bias(besides) {
            [] => None,
            _ => Some(BiasOutputs::of(&gradients[gradients.len().saturating_sub(BiasOutputs::<()>::COUNT)..])?),
        };
        let bias = bias.map(|BiasOutputs { d_bias, parts }| (d_bias, parts));
        let gradients = Gradients { query, key, value, bias };
        forward.attention.record_backward(recorder, inputs, besides.first(), &saved, &gradients)
    }
}
