//! Attention with relative positions: Dai, Yang, Yang, Carbonell, Le and Salakhutdinov, "Transformer-XL: Attentive Language Models
//! Beyond a Fixed-Length Context" (2019), section 3.3. Products with the vectors of distances are made in tiles of consecutive ones, and
//! shifted there, so that nothing of size queries x keys is stored, forward or backward.

use super::{
    by_distance::{self, Walk, specialisations},
    dot_product_attention::{DotProductAttention, Heads, LARGEST_SIZE, Saved as Statistics},
    expect::{expect_apart, expect_extents, expect_of, expect_scratch, expect_setting},
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Recorder, Shader, Tensor},
};

pub(super) static RELATIVE_ATTENTION: Shader = shader!("relative_attention", specialisations);
pub(super) static RELATIVE_ATTENTION_BACKWARD: Shader = shader!("relative_attention_backward", specialisations);
pub(super) static RELATIVE_ATTENTION_KEYS_BACKWARD: Shader =
    shader!("relative_attention/keys_backward", specialisations);
pub(super) static RELATIVE_ATTENTION_RELATIVE_BACKWARD: Shader =
    shader!("relative_attention/relative_backward", specialisations);

const NAME: &str = "relative_attention";

/// ```text
/// place[t]          = t + S - T
/// score[b, n, t, s] = (content[b, n, t] · key[b, n, s] + position[b, n, t] · relative[n, place[t] - s]) * scale
/// context[b, n, t]  = sum over s <= place[t], s < lengths[b] of softmax(score[b, n, t])[s] * value[b, n, s]
/// ```
///
/// The last T keys are those of the queries' own places, those before them a memory. A query that sees no key has a zero context
/// and passes no gradient on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T: at most S.
    pub queries: usize,
    /// Keys per head, S.
    pub keys: usize,
    /// Size of a head, D: at most [`LARGEST_SIZE`].
    pub size: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// What attention reads: all of one type but the lengths.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, 2·N·D]`: what keys are compared with, then what distances are: the query with the paper's u, and with its v.
    pub queries: &'a Tensor,
    /// `[B, S, N·D]`
    pub key: &'a Tensor,
    /// `[B, S, N·D]`
    pub value: &'a Tensor,
    /// `[S, N·D]`: the vector of each distance, from 0 on.
    pub relative: &'a Tensor,
    /// `[B]`, u32: how many keys of each sequence are valid.
    pub lengths: &'a Tensor,
}

/// What the backward reads besides the inputs, and the scratch that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// `[B, T, N·D]`, from the forward.
    pub context: &'a Tensor,
    /// `[B, N, T]`, from the forward.
    pub log_sum_exp: &'a Tensor,
    /// `[B, T, N·D]`, the gradient of the context.
    pub d_context: &'a Tensor,
    /// Scratch of [`RelativeAttention::statistics`] elements.
    pub statistics: &'a Tensor,
}

/// What the backward writes, each in the shape of its input.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, 2·N·D]`
    pub queries: &'a Tensor,
    /// `[B, S, N·D]`
    pub key: &'a Tensor,
    /// `[B, S, N·D]`
    pub value: &'a Tensor,
    /// `[S, N·D]`
    pub relative: &'a Tensor,
}

impl RelativeAttention {
    /// Pairs of a query and a key, products of vectors with each.
    fn cost_of(&self, products: f64, dtype: Dtype) -> Cost {
        let Self { batch, heads, queries, keys, size, .. } = *self;
        let pairs = (batch * heads * queries) as f64 * (keys as f64 - 0.5 * (queries as f64 - 1.0));
        let bytes = dtype.bytes() as f64 * (heads * size) as f64;
        let rows = (batch * (3 * queries + 2 * keys) + keys) as f64;
        Cost {
            operations: pairs * (2.0 * products * size as f64 + 6.0),
            transcendental: pairs,
            read: bytes * rows + ELEMENT as f64 * (batch * heads * queries) as f64,
            written: bytes * (batch * queries) as f64,
        }
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        self.cost_of(3.0, dtype)
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.cost_of(5.0, dtype);
        cost += self.cost_of(5.0, dtype);
        cost += self.cost_of(4.0, dtype);
        cost
    }

    /// Elements of the scratch in [`Saved`].
    pub fn statistics(&self) -> usize {
        self.plain().statistics()
    }

    /// The attention whose statistics are the same.
    fn plain(&self) -> DotProductAttention {
        let Self { batch, heads, queries, keys, size, scale } = *self;
        DotProductAttention { batch, heads, queries, keys, size, causal: true, scale, dropout: None }
    }

    fn of_queries(&self) -> [usize; 3] {
        [self.batch, self.queries, self.heads * self.size]
    }

    fn of_keys(&self) -> [usize; 3] {
        [self.batch, self.keys, self.heads * self.size]
    }

    /// Records the forward: `context` `[B, T, N·D]` of the inputs' type, and `log_sum_exp` `[B, N, T]`, f32, the logarithm of each
    /// query's softmax denominator.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, [`crate::Error::Limit`] if the sequences are longer
    /// than the driver can walk, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        context: &Tensor,
        log_sum_exp: &Tensor,
    ) -> Result<()> {
        let dtype = self.check(inputs)?;
        expect_of(dtype, NAME, "context", context, &self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[self.batch, self.heads, self.queries])?;
        let Inputs { queries, key, value, relative, lengths } = *inputs;
        let forward = Walk {
            kernel: &RELATIVE_ATTENTION,
            owned: [self.batch * self.heads, self.queries],
            walked: [1, self.keys],
            heads: &[self.heads_of(inputs).as_slice(), &[self.side_by_side(context)]].concat(),
            tensors: &[queries, key, value, relative, lengths, context, log_sum_exp],
            cost: self.cost(dtype),
        };
        self.launch(recorder, &forward)
    }

    /// The heads of what is read.
    fn heads_of<'a>(&self, inputs: &Inputs<'a>) -> [Heads<'a>; 5] {
        let Inputs { queries, key, value, relative, .. } = *inputs;
        let [content, position] = self.parts(queries);
        let [key, value, relative] = [key, value, relative].map(|tensor| self.side_by_side(tensor));
        [content, position, key, value, relative]
    }

    fn side_by_side<'a>(&self, tensor: &'a Tensor) -> Heads<'a> {
        Heads::side_by_side(tensor, 0, self.size)
    }

    /// What keys are compared with, and what distances are.
    fn parts<'a>(&self, queries: &'a Tensor) -> [Heads<'a>; 2] {
        [0, self.heads * self.size].map(|first| Heads::side_by_side(queries, first, self.size))
    }

    /// Records the backward: the statistics of each query, then passes that own queries, keys and distances. No sum crosses
    /// workgroups, so the same inputs give the same bits.
    ///
    /// # Errors
    /// As [`RelativeAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let dtype = self.check(inputs)?;
        let Inputs { queries, key, value, relative, lengths } = *inputs;
        let Saved { context, log_sum_exp, d_context, statistics } = *saved;
        expect_of(dtype, NAME, "context", context, &self.of_queries())?;
        expect_of(dtype, NAME, "d_context", d_context, &self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[self.batch, self.heads, self.queries])?;
        expect_scratch(NAME, statistics, self.statistics())?;
        let Gradients { queries: d_queries, key: d_key, value: d_value, relative: d_relative } = *gradients;
        for (argument, gradient, input) in [
            ("d_queries", d_queries, queries),
            ("d_key", d_key, key),
            ("d_value", d_value, value),
            ("d_relative", d_relative, relative),
        ] {
            expect_of(dtype, NAME, argument, gradient, input.shape().dims())?;
        }
        let made = [("d_queries", d_queries), ("d_key", d_key), ("d_value", d_value), ("d_relative", d_relative)];
        expect_apart(NAME, &made)?;
        let [context, d_context_heads, of_key, of_value, of_relative] =
            [context, d_context, d_key, d_value, d_relative].map(|tensor| self.side_by_side(tensor));
        let plain = Statistics { context, log_sum_exp, d_context: d_context_heads, statistics };
        self.plain().record_delta(recorder, lengths, &plain)?;
        let read = [queries, key, value, relative, d_context, statistics];
        let of_read = [self.heads_of(inputs).as_slice(), &[d_context_heads]].concat();
        let of_queries = [self.batch * self.heads, self.queries];
        let of_keys = [self.batch * self.heads, self.keys];
        let [walked_queries, walked_keys] = [[1, self.queries], [1, self.keys]];
        for (kernel, [owned, walked], heads, written, products) in [
            (&RELATIVE_ATTENTION_BACKWARD, [of_queries, walked_keys], self.parts(d_queries), &[d_queries][..], 5.0),
            (&RELATIVE_ATTENTION_KEYS_BACKWARD, [of_keys, walked_queries], [of_key, of_value], &[d_key, d_value], 5.0),
            (
                &RELATIVE_ATTENTION_RELATIVE_BACKWARD,
                [[self.heads, self.keys], [self.batch, self.queries]],
                [of_relative; 2],
                &[d_relative],
                4.0,
            ),
        ] {
            let heads = &[of_read.as_slice(), &heads].concat();
            let tensors = &[&read, written].concat();
            let walk = Walk { kernel, owned, walked, heads, tensors, cost: self.cost_of(products, dtype) };
            self.launch(recorder, &walk)?;
        }
        Ok(())
    }

    fn launch(&self, recorder: &mut Recorder, walk: &Walk<'_>) -> Result<()> {
        let what = format!("{NAME} of {} queries and {} keys", self.queries, self.keys);
        let advice = "Use shorter segments, a shorter memory or a smaller batch, or a GPU.";
        by_distance::launch(recorder, &self.plain(), walk, &[self.scale.to_bits()], [&what, advice])
    }

    fn check(&self, inputs: &Inputs<'_>) -> Result<Dtype> {
        let Self { batch, heads, queries, keys, size, .. } = *self;
        expect_extents(NAME, &[("batch", batch), ("heads", heads), ("queries", queries), ("size", size)])?;
        expect_setting(NAME, "keys", keys >= queries, "at least as many keys as queries", keys as f64)?;
        let wanted = format!("at most {LARGEST_SIZE}");
        expect_setting(NAME, "size of a head", size <= LARGEST_SIZE, &wanted, size as f64)?;
        let dtype = inputs.queries.dtype().activation();
        expect_of(dtype, NAME, "queries", inputs.queries, &[batch, queries, 2 * heads * size])?;
        expect_of(dtype, NAME, "key", inputs.key, &self.of_keys())?;
        expect_of(dtype, NAME, "value", inputs.value, &self.of_keys())?;
        expect_of(dtype, NAME, "relative", inputs.relative, &self.of_keys()[1..])?;
        expect_of(Dtype::U32, NAME, "lengths", inputs.lengths, &[batch])?;
        Ok(dtype)
    }
}
