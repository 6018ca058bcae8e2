//! Attention of chunks, in the order of the text or of buckets of a hash: [`crate::kernels::lsh_attention`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::{
        dot_product_attention::{Tile, standard_scale},
        lsh_attention::{Gradients, Hash, Inputs, LshAttention, MOST_FACTORS, Order, Outputs, Padding, Saved},
    },
};

const NAME: &str = "lsh_attention";
/// Added to the mean square of a query that is a key.
const EPSILON: f32 = 1e-6;

operands! { ForwardInputs { query, key, value, lengths, buckets } }
operands! { ForwardOutputs { context, log_sum_exp, sorted } }
operands! { BackwardInputs { query, key, value, lengths, buckets, context, log_sum_exp, d_context } }
operands! { BackwardOutputs { query, key, value, statistics, sorted } }

/// Buckets of positions, from [`Graph::lsh_buckets`].
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// `[B, N, rounds, T]`, u32.
    pub numbers: Value,
    /// Buckets of a hash, without that of padding.
    pub count: usize,
}

/// Attention of positions to their own chunk and to chunks beside it.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedAttention {
    /// `[B, T, N·D]`
    pub query: Value,
    /// `[B, T, N·D]`; without, keys are the queries at one length, and no position sees itself but where it sees no other.
    pub key: Option<Value>,
    /// `[B, T, N·D]`
    pub value: Value,
    /// `[B]`: the positions of each text that are seen.
    pub lengths: Value,
    /// The buckets by which positions are sorted; without, chunks are those of the text.
    pub buckets: Option<Buckets>,
    /// Heads, N.
    pub heads: usize,
    /// Positions of a chunk. A text that is no longer is one chunk, which nothing is beside and no bucket divides.
    pub chunk: usize,
    /// Chunks that are seen before the own one, the last one being before the first.
    pub before: usize,
    /// Chunks that are seen after it.
    pub after: usize,
    /// Whether positions see none that follow them in the text.
    pub causal: bool,
    /// The padding that each text has by itself; without, all are padded to T.
    pub padding: Option<Padding>,
    /// The share of weights that dropout takes.
    pub dropout: f32,
}

/// Inputs: x, rotations and lengths. Output: the buckets.
#[derive(Debug)]
struct Hashing(Hash);

/// Where there are no buckets, lengths stand in their place.
#[derive(Debug)]
struct Forward(LshAttention);

#[derive(Debug)]
struct Backward(LshAttention);

impl Graph {
    /// The buckets of each head of `x` `[B, T, N·D]`, `lengths` `[B]` of whose positions are valid, by the directions `rotations`
    /// `[N, D, rounds, C]`, f32, to which a vector points most. `factors` are even numbers whose product is the number of buckets and whose
    /// halves add up to C. Buckets are a decision: they have no gradient, and a [`Graph::reversible_add`] does not take them again.
    ///
    /// # Errors
    /// [`Error::Shape`], also for odd factors and more than 4 of them.
    pub fn lsh_buckets(&mut self, x: Value, rotations: Value, lengths: Value, factors: &[usize]) -> Result<Buckets> {
        let [batch, steps, width] = self.expect_float(NAME, "x", x, [None; 3])?;
        let [heads, size, rounds, directions] = self.expect(NAME, "rotations", rotations, Dtype::F32, [None; 4])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let mut places = [0; MOST_FACTORS];
        let wrong =
            |argument, wanted: String, got: String| Err(Error::Shape { operation: NAME, argument, wanted, got });
        if factors.len() > MOST_FACTORS {
            return wrong("factors", format!("at most {MOST_FACTORS}"), factors.len().to_string());
        }
        places.iter_mut().zip(factors).for_each(|(place, factor)| *place = *factor);
        let hash = Hash { batch, heads, steps, size, rounds, factors: places };
        hash.check()?;
        if heads.saturating_mul(size) != width || hash.directions() != directions {
            let wanted = format!("[N, D, rounds, {}] with N·D = {width}", hash.directions());
            return wrong("rotations", wanted, self.shape(rotations).to_string());
        }
        let made = ([batch, heads, rounds, steps].into(), Dtype::U32);
        let numbers = self.push_as(Hashing(hash), &[x, rotations, lengths], [made])[0];
        Ok(Buckets { numbers, count: hash.buckets() })
    }

    /// The contexts `[B, T, N·D]` of attention of chunks (Kitaev, Kaiser and Levskaya 2020, section 2), scores being divided by the root of
    /// D; those of positions past their text's end are 0.
    ///
    /// # Errors
    /// [`Error::Shape`], also for heads that do not divide the width, and texts longer than a chunk that are not whole chunks.
    pub fn lsh_attention(&mut self, attention: &ChunkedAttention) -> Result<Value> {
        let ChunkedAttention { query, value, lengths, buckets, heads, chunk, before, after, causal, padding, .. } =
            *attention;
        let [batch, steps, width] = self.expect_float(NAME, "query", query, [None; 3])?;
        let dtype = self.dtype(query);
        for (argument, tensor) in [("value", value)].into_iter().chain(attention.key.map(|key| ("key", key))) {
            self.expect(NAME, argument, tensor, dtype, [batch, steps, width].map(Some))?;
        }
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let wrong = |argument, wanted: String, got: usize| {
            Err(Error::Shape { operation: NAME, argument, wanted, got: got.to_string() })
        };
        if heads == 0 || width % heads != 0 {
            return wrong("heads", format!("a number that divides the width {width}"), heads);
        }
        let is_one = steps <= chunk;
        if chunk == 0 || !(is_one || steps.is_multiple_of(chunk)) {
            return wrong("chunk", format!("a number that divides the {steps} steps"), chunk);
        }
        let buckets = buckets.filter(|_| !is_one);
        let mut order = None;
        if let Some(Buckets { numbers, count }) = buckets {
            let wanted = [Some(batch), Some(heads), None, Some(steps)];
            let [_, _, rounds, _] = self.expect(NAME, "buckets", numbers, Dtype::U32, wanted)?;
            order = Some(Order { rounds, buckets: count });
        }
        let (chunk, before, after) = if is_one { (steps, 0, 0) } else { (chunk, before, after) };
        // What is one chunk with all padding is one with less.
        let padding = padding.filter(|_| !is_one);
        let size = width / heads;
        let key = attention.key.map_or_else(|| self.at_one_length(query, size), Ok)?;
        let kernel = LshAttention {
            batch,
            heads,
            steps,
            size,
            chunk,
            before,
            after,
            causal,
            sees_itself: attention.key.is_some(),
            scale: standard_scale(size),
            order,
            padding,
            dropout: self.weight_dropout(NAME, attention.dropout)?,
        };
        let buckets = buckets.map_or(lengths, |buckets| buckets.numbers);
        let inputs = ForwardInputs { query, key, value, lengths, buckets };
        let made = [
            ([batch, steps, width].into(), dtype),
            ([batch, heads, steps].into(), Dtype::F32),
            ([kernel.sorted()].into(), Dtype::U32),
        ];
        Ok(self.push_as(Forward(kernel), &inputs.list(), made)[0])
    }

    /// The vectors of `size` that lie side by side in `x` `[B, T, N·D]`, each over the root of its mean square.
    fn at_one_length(&mut self, x: Value, size: usize) -> Result<Value> {
        let shape = self.shape(x).clone();
        let vectors = self.reshape(x, [shape.elements() / size, size])?;
        let gain = self.filled_as([size], Dtype::F32, 1.0);
        let scaled = self.rms_norm(vectors, gain, EPSILON)?;
        self.reshape(scaled, shape)
    }
}

fn inputs<'a>(kernel: &LshAttention, inputs: ForwardInputs<&'a Tensor>, step: &'a Tensor) -> Inputs<'a> {
    let ForwardInputs { query, key, value, lengths, buckets } = inputs;
    Inputs { query, key, value, lengths, buckets: kernel.order.map(|_| buckets), step }
}

impl Operation for Hashing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        self.0.record(recorder, [&inputs[0], &inputs[1], &inputs[2]], &outputs[0])
    }

    fn decides(&self) -> bool {
        true
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let inputs = inputs(&self.0, ForwardInputs::of(context.inputs)?, context.step);
        let tile = Tile::choose(recorder.gpu(), self.0.size);
        let ForwardOutputs { context, log_sum_exp, sorted } = ForwardOutputs::of(context.outputs)?;
        self.0.record(recorder, tile, &inputs, &Outputs { context, log_sum_exp, sorted })
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_context) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let ForwardInputs { query, key, value, lengths, buckets } = ForwardInputs::of(inputs)?.map(|value| *value);
        let ForwardOutputs { context, log_sum_exp, .. } = ForwardOutputs::of(outputs)?.map(|value| *value);
        let from = BackwardInputs { query, key, value, lengths, buckets, context, log_sum_exp, d_context };
        let made = BackwardOutputs {
            query: graph.like(query),
            key: graph.like(key),
            value: graph.like(value),
            statistics: ([self.0.statistics()].into(), Dtype::F32),
            sorted: ([self.0.sorted()].into(), Dtype::U32),
        };
        let gradients = graph.push_as(Backward(self.0), &from.list(), made.list());
        let BackwardOutputs { query, key, value, .. } = BackwardOutputs::of(&gradients)?.map(|value| Some(*value));
        Ok(ForwardInputs { query, key, value, lengths: None, buckets: None }.list())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardInputs { query, key, value, lengths, buckets, context: made, log_sum_exp, d_context } =
            BackwardInputs::of(context.inputs)?;
        let inputs = inputs(&self.0, ForwardInputs { query, key, value, lengths, buckets }, context.step);
        let BackwardOutputs { query, key, value, statistics, sorted } = BackwardOutputs::of(context.outputs)?;
        let saved = Saved { outputs: Outputs { context: made, log_sum_exp, sorted }, d_context, statistics };
        let tile = Tile::choose(recorder.gpu(), self.0.size);
        self.0.record_backward(recorder, tile, &inputs, &saved, &Gradients { query, key, value })
    }
}
