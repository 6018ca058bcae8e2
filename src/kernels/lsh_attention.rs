//! Attention within buckets of a hash, for long texts: Kitaev, Kaiser and Levskaya, "Reformer: The Efficient Transformer" (2020), section
//! 2. Positions are hashed and sorted by bucket, and see those of their own chunk of that order and of chunks beside it, several times by
//! different hashes. With the text's own order it is attention of chunks to their neighbours. What is computed and stored grows with T
//! times the chunks that are seen and the hashes, not with T·T.

mod buckets;

pub use buckets::{Hash, MOST_FACTORS};
pub(super) use buckets::{LSH_ATTENTION_HASH, LSH_ATTENTION_SORT};

use super::{
    dot_product_attention::{DotProductAttention, Heads, LARGEST_SIZE, Saved as Statistics},
    expect::{expect_apart, expect_extents, expect_of, expect_scratch, expect_setting},
    forms,
    library::shader,
    rounds::expect_rounds,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};
use buckets::Sort;

pub(super) static LSH_ATTENTION: Shader = shader!("lsh_attention", specialisations);
pub(super) static LSH_ATTENTION_BACKWARD: Shader = shader!("lsh_attention_backward", specialisations);
pub(super) static LSH_ATTENTION_KEYS_BACKWARD: Shader = shader!("lsh_attention/keys_backward", specialisations);

const NAME: &str = "lsh_attention";

/// ```text
/// unit[s]       = query[s] / sqrt(mean of query[s]² + 1e-6)
/// score[t, s]   = (query[t] · key[s]) * scale, or (query[t] · unit[s]) * scale where keys are the queries'
/// context[t]    = sum over hashes h and s in seen[h, t] of exp(score[t, s]) * value[s] / the same sum of exp(score[t, s])
/// ```
///
/// in each head of each sequence. `seen[h, t]` holds the positions in chunks `c - before .. c + after` of round h's order, c being that of t,
/// that are within the sequence's length and, if causal, not after t. The chunks of all rounds are one circle. A position whose keys are
/// the queries' does not see itself, and has its own value as context where it sees no other (section 2, "Causal masking for shared-QK
/// attention"). The context of a position past its sequence's end is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LshAttention {
    /// Sequences, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Positions of a sequence, T: a multiple of `chunk`.
    pub steps: usize,
    /// Size of a head, D: at most 256.
    pub size: usize,
    /// Positions of a chunk.
    pub chunk: usize,
    /// Chunks that are seen before the own one.
    pub before: usize,
    /// Chunks that are seen after it.
    pub after: usize,
    /// Whether positions see none that follow them in the text.
    pub causal: bool,
    /// What products are multiplied with.
    pub scale: f32,
    /// The orders by bucket; without, there is the text's own order alone.
    pub order: Option<Order>,
    /// The padding that each sequence has by itself; without, all are padded to T.
    pub padding: Option<Padding>,
}

/// Padding of a sequence by itself, in tensors that may have more. One that is no longer than a chunk with it is a chunk, which nothing is
/// beside and no bucket divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// The longest sequence that has none: no longer than a chunk.
    pub least: usize,
    /// What the length of a longer one is padded to a multiple of: a multiple of the chunk.
    pub multiple: usize,
}

/// Orders of positions by their buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Hashes, each of which gives an order of its own.
    pub rounds: usize,
    /// Buckets of a hash, without that of padding.
    pub buckets: usize,
}

/// What [`LshAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, N·D]`
    pub query: &'a Tensor,
    /// `[B, T, N·D]`; without, keys are the queries at one length.
    pub key: Option<&'a Tensor>,
    /// `[B, T, N·D]`
    pub value: &'a Tensor,
    /// `[B]`, u32: how many positions of each sequence are valid.
    pub lengths: &'a Tensor,
    /// `[B, N, rounds, T]`, u32, from [`struct@Hash`]: wanted where there is an [`Order`].
    pub buckets: Option<&'a Tensor>,
}

/// What [`LshAttention::record`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, T, N·D]`
    pub context: &'a Tensor,
    /// `[B, N, T]`, f32: the logarithm of each position's softmax denominator; -1e30 where it sees none but itself.
    pub log_sum_exp: &'a Tensor,
    /// Scratch of [`LshAttention::sorted`] elements, u32: the orders and their inverses.
    pub sorted: &'a Tensor,
}

/// What the backward reads besides the inputs, and the scratch that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// From the forward. The scratch need not be.
    pub outputs: Outputs<'a>,
    /// `[B, T, N·D]`, the gradient of the context.
    pub d_context: &'a Tensor,
    /// Scratch of [`LshAttention::statistics`] elements.
    pub statistics: &'a Tensor,
}

/// What the backward writes, each in the shape of its input.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, N·D]`; where keys are the queries, of both.
    pub query: &'a Tensor,
    /// `[B, T, N·D]`, where there are keys.
    pub key: Option<&'a Tensor>,
    /// `[B, T, N·D]`
    pub value: &'a Tensor,
}

/// One dispatch.
struct Pass<'a> {
    kernel: &'static Shader,
    tensors: &'a [&'a Tensor],
    is_shared: bool,
    cost: Cost,
}

impl LshAttention {
    /// Pairs of a query and a key that it sees, products of vectors with each.
    fn cost_of(&self, products: f64, tensors: f64, dtype: Dtype) -> Cost {
        let pairs = (self.batch * self.heads * self.steps * self.walked()) as f64;
        let pairs = if self.causal { 0.5 * pairs } else { pairs };
        let bytes = dtype.bytes() as f64 * self.shape().iter().product::<usize>() as f64;
        let statistics = ELEMENT as f64 * (self.batch * self.heads * self.steps) as f64;
        Cost {
            operations: pairs * (2.0 * products * self.size as f64 + 6.0),
            transcendental: pairs,
            read: 3.0 * bytes + statistics,
            written: tensors * bytes + statistics,
        }
    }

    /// Operations and bytes of the forward pass, the sort included.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.sort().map(|sort| sort.cost()).unwrap_or_default();
        cost += self.cost_of(3.0, 1.0, dtype);
        cost
    }

    /// Operations and bytes of the backward pass, the sort included.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.sort().map(|sort| sort.cost()).unwrap_or_default();
        cost += self.cost_of(4.0, 1.0, dtype);
        cost += self.cost_of(5.0, 2.0, dtype);
        cost
    }

    fn rounds(&self) -> usize {
        self.order.map_or(1, |order| order.rounds)
    }

    /// Pairs that a position's walk goes through.
    fn walked(&self) -> usize {
        self.rounds()
            .saturating_mul(self.before.saturating_add(1).saturating_add(self.after))
            .saturating_mul(self.chunk)
    }

    fn shape(&self) -> [usize; 3] {
        [self.batch, self.steps, self.heads * self.size]
    }

    fn sort(&self) -> Option<Sort> {
        let Self { batch, heads, steps, order, .. } = *self;
        order.map(|Order { rounds, buckets }| Sort { groups: batch * heads * rounds, steps, buckets })
    }

    /// Elements of the scratch in [`Outputs`].
    pub fn sorted(&self) -> usize {
        self.sort().map_or(1, |sort| sort.sorted())
    }

    /// Elements of the scratch in [`Saved`].
    pub fn statistics(&self) -> usize {
        self.plain().statistics()
    }

    /// The attention whose statistics are the same.
    fn plain(&self) -> DotProductAttention {
        let Self { batch, heads, steps, size, causal, scale, .. } = *self;
        DotProductAttention { batch, heads, queries: steps, keys: steps, size, causal, scale, dropout: None }
    }

    /// Records the forward.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number or type of elements, or a chunk does not divide the steps; [`Error::Limit`] if
    /// chunks or sequences are longer than the driver can walk; and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let dtype = self.check(inputs, outputs)?;
        let Inputs { query, key, value, lengths, .. } = *inputs;
        let Outputs { context, log_sum_exp, sorted } = *outputs;
        let sorted = self.record_sort(recorder, inputs, sorted)?;
        let tensors = [query, key.unwrap_or(query), value, lengths, sorted, context, log_sum_exp];
        let cost = self.cost_of(3.0, 1.0, dtype);
        self.launch(recorder, &Pass { kernel: &LSH_ATTENTION, tensors: &tensors, is_shared: key.is_none(), cost })
    }

    /// Records the backward: the statistics of each position, then passes that own queries and keys. No sum crosses workgroups, so the
    /// same inputs give the same bits.
    ///
    /// # Errors
    /// As [`LshAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Saved { outputs, d_context, statistics } = *saved;
        let dtype = self.check(inputs, &outputs)?;
        let Inputs { query, key, value, lengths, .. } = *inputs;
        let Gradients { query: d_query, key: d_key, value: d_value } = *gradients;
        for (argument, tensor) in [("d_context", d_context), ("d_query", d_query), ("d_value", d_value)]
            .into_iter()
            .chain(d_key.map(|d_key| ("d_key", d_key)))
        {
            expect_of(dtype, NAME, argument, tensor, &self.shape())?;
        }
        let has_keys = f64::from(u8::from(d_key.is_some()));
        expect_setting(NAME, "d_key", d_key.is_some() == key.is_some(), "one where there are keys", has_keys)?;
        expect_scratch(NAME, statistics, self.statistics())?;
        let d_key = d_key.unwrap_or(d_query);
        expect_apart(NAME, &[("d_key", d_key), ("d_value", d_value)])?;
        let heads = |tensor| Heads::side_by_side(tensor, 0, self.size);
        let Outputs { context, log_sum_exp, sorted } = outputs;
        let plain = Statistics { context: heads(context), log_sum_exp, d_context: heads(d_context), statistics };
        self.plain().record_delta(recorder, lengths, &plain)?;
        let sorted = self.record_sort(recorder, inputs, sorted)?;
        let read = [query, key.unwrap_or(query), value, d_context, statistics, sorted];
        for (kernel, written, products) in
            [(&LSH_ATTENTION_BACKWARD, &[d_query][..], 4.0), (&LSH_ATTENTION_KEYS_BACKWARD, &[d_key, d_value], 5.0)]
        {
            let cost = self.cost_of(products, written.len() as f64, dtype);
            let tensors = &[&read, written].concat();
            self.launch(recorder, &Pass { kernel, tensors, is_shared: key.is_none(), cost })?;
        }
        Ok(())
    }

    /// Records the sort, if there is any, and returns what to bind as its result.
    fn record_sort<'a>(&self, recorder: &mut Recorder, inputs: &Inputs<'a>, sorted: &'a Tensor) -> Result<&'a Tensor> {
        match (self.sort(), inputs.buckets) {
            (Some(sort), Some(buckets)) => sort.record(recorder, buckets, sorted).map(|()| sorted),
            // What is not there is not read.
            _ => Ok(inputs.lengths),
        }
    }

    fn launch(&self, recorder: &mut Recorder, pass: &Pass<'_>) -> Result<()> {
        let Self { batch, heads, steps, size, chunk, before, after, causal, scale, order, padding } = *self;
        let Padding { least, multiple } = padding.unwrap_or(Padding { least: 0, multiple: 0 });
        let Pass { kernel, tensors, is_shared, cost } = *pass;
        self.check_rounds(recorder.gpu())?;
        let tiles = *recorder.gpu().tiles();
        let flag = usize::from;
        let sizes = [batch, heads, steps, size, self.rounds(), flag(order.is_some()), chunk, before, after];
        let further = [flag(causal), flag(is_shared), least, multiple];
        let words: Vec<_> = sizes.into_iter().chain(further).map(|size| size as u32).collect();
        recorder.launch(&Launch {
            kernel,
            specialisation: specialisation(
                &tiles,
                tensors[0].dtype(),
                size.is_multiple_of(4),
                forms::share(&tiles, size),
            ),
            params: &[&words[..], &[scale.to_bits()]].concat(),
            tensors,
            workgroups: grid(batch * heads * steps),
            cost,
        })
    }

    /// Checks that the driver goes through so many pairs in one workgroup.
    fn check_rounds(&self, gpu: &Gpu) -> Result<()> {
        let lanes = gpu.tiles().row as usize;
        let features = forms::share(gpu.tiles(), self.size) as usize;
        let each = self.size.div_ceil(4) + lanes * (1 + features) + features;
        let what = || format!("{NAME} of {} hashes and chunks of {}", self.rounds(), self.chunk);
        let rounds = self.walked().div_ceil(lanes).saturating_mul(each);
        expect_rounds(gpu, rounds, what, "Use fewer hashes or shorter chunks, or a GPU.")
    }

    fn check(&self, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<Dtype> {
        let Self { batch, heads, steps, size, chunk, before, after, order, padding, .. } = *self;
        let extents = [("batch", batch), ("heads", heads), ("steps", steps), ("size", size), ("chunk", chunk)];
        expect_extents(NAME, &extents)?;
        expect_extents(NAME, &[("rounds", self.rounds())])?;
        let wanted = format!("at most {LARGEST_SIZE}");
        expect_setting(NAME, "size of a head", size <= LARGEST_SIZE, &wanted, size as f64)?;
        let wanted = format!("a number that divides the {steps} steps");
        expect_setting(NAME, "chunk", steps.is_multiple_of(chunk), &wanted, chunk as f64)?;
        if let Some(Padding { least, multiple }) = padding {
            let whole = multiple > 0 && multiple.is_multiple_of(chunk) && i32::try_from(multiple).is_ok();
            expect_setting(NAME, "multiple", whole, &format!("a multiple of the chunk {chunk}"), multiple as f64)?;
            expect_setting(NAME, "least", least <= chunk, &format!("at most the chunk {chunk}"), least as f64)?;
        }
        let counted = i32::try_from(self.walked()).is_ok();
        expect_setting(NAME, "chunks to either side", counted, "fewer", before.saturating_add(after) as f64)?;
        let dtype = inputs.query.dtype().activation();
        let Inputs { query, key, value, lengths, buckets } = *inputs;
        for (argument, tensor) in [("query", query), ("value", value), ("context", outputs.context)]
            .into_iter()
            .chain(key.map(|key| ("key", key)))
        {
            expect_of(dtype, NAME, argument, tensor, &self.shape())?;
        }
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[batch])?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", outputs.log_sum_exp, &[batch, heads, steps])?;
        expect_apart(NAME, &[("context", outputs.context), ("log_sum_exp", outputs.log_sum_exp)])?;
        match (order, buckets) {
            (Some(Order { rounds, .. }), Some(buckets)) => {
                expect_of(Dtype::U32, NAME, "buckets", buckets, &[batch, heads, rounds, steps])?;
            }
            (None, None) => {}
            _ => {
                let (wanted, got) = ("them where there are orders by bucket, and there alone", buckets.is_some());
                return Err(Error::Shape {
                    operation: NAME,
                    argument: "buckets",
                    wanted: wanted.into(),
                    got: got.to_string(),
                });
            }
        }
        Ok(dtype)
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool, share: u32) -> Specialisation {
    forms::row_reduction(tiles).element(dtype).define_if(vector, "VECTOR").constant("SHARE", share)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let of_share = |share| {
        forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector, share))).concat()
    };
    forms::shares(tiles, LARGEST_SIZE).flat_map(of_share).collect()
}
