//! Attention within buckets of a hash, for long texts: Kitaev, Kaiser and Levskaya, "Reformer: The Efficient Transformer" (2020), section
//! 2. Positions are hashed and sorted by bucket, and see those of their own chunk of that order and of chunks beside it, several times by
//! different hashes. With the text's own order it is attention of chunks to their neighbours. What is computed and stored grows with T
//! times the chunks that are seen and the hashes, not with T·T.

mod buckets;

pub use buckets::{Hash, MOST_FACTORS};
pub(super) use buckets::{LSH_ATTENTION_HASH, LSH_ATTENTION_SORT};

use super::{
    dot_product_attention::{
        DotProductAttention, Heads, LARGEST_SIZE, Pass, Saved as Statistics, Tile, WeightDropout, forms,
    },
    expect::{expect_apart, expect_extents, expect_of, expect_scratch, expect_setting},
    library::shader,
    rounds::expect_rounds,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Tensor, grid},
};
use buckets::Sort;

pub(super) static LSH_ATTENTION: Shader = shader!("lsh_attention", |tiles| forms(tiles, &[Pass::Forward]));
pub(super) static LSH_ATTENTION_BACKWARD: Shader =
    shader!("lsh_attention_backward", |tiles| forms(tiles, &[Pass::Queries, Pass::Keys]));

const NAME: &str = "lsh_attention";

/// ```text
/// score[t, s]   = (query[t] · key[s]) * scale
/// weight[t, s]  = exp(score[t, s]) / sum over hashes h and s' in seen[h, t] of exp(score[t, s'])
/// context[t]    = sum over hashes h and s in seen[h, t] of dropout(weight)[t, s] * value[s]
/// ```
///
/// in each head of each sequence. `seen[h, t]` holds the positions in chunks `c - before .. c + after` of round h's order, c being that of t,
/// that are within the sequence's length and, if causal, not after t. The chunks of all rounds are one circle. A position that is not to see
/// itself has its own value as context where it sees no other (section 2, "Causal masking for shared-QK attention"). The context of a
/// position past its sequence's end is 0.
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
    /// Whether positions see themselves: not where keys are the queries, whose product is the largest.
    pub sees_itself: bool,
    /// What products are multiplied with.
    pub scale: f32,
    /// The orders by bucket; without, there is the text's own order alone.
    pub order: Option<Order>,
    /// The padding that each sequence has by itself; without, all are padded to T.
    pub padding: Option<Padding>,
    /// Dropout of the weights, in training: of a pair in all rounds alike.
    pub dropout: Option<WeightDropout>,
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
    /// `[B, T, N·D]`
    pub key: &'a Tensor,
    /// `[B, T, N·D]`
    pub value: &'a Tensor,
    /// `[B]`, u32: how many positions of each sequence are valid.
    pub lengths: &'a Tensor,
    /// `[B, N, rounds, T]`, u32, from [`struct@Hash`]: wanted where there is an [`Order`].
    pub buckets: Option<&'a Tensor>,
    /// The buffer of [`super::Step`], which dropout reads.
    pub step: &'a Tensor,
}

/// What [`LshAttention::record`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, T, N·D]`
    pub context: &'a Tensor,
    /// `[B, N, T]`, f32: the logarithm of each position's softmax denominator; -1e30 where it sees none but itself.
    pub log_sum_exp: &'a Tensor,
    /// Scratch of [`LshAttention::sorted`] elements, u32: the orders, and memory to sort in.
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
    /// `[B, T, N·D]`
    pub query: &'a Tensor,
    /// `[B, T, N·D]`
    pub key: &'a Tensor,
    /// `[B, T, N·D]`
    pub value: &'a Tensor,
}

/// One pass over tensors: a dispatch for each round.
struct Walk<'a> {
    kernel: &'static Shader,
    pass: Pass,
    /// In the order of their layouts in the parameters.
    heads: &'a [Heads<'a>],
    /// In the order of the kernel's bindings.
    tensors: &'a [&'a Tensor],
    /// Of a round.
    cost: Cost,
}

impl LshAttention {
    /// Operations and bytes of a round of a pass, over the pairs that see each other.
    fn cost_round(&self, pass: Pass, dtype: Dtype) -> Cost {
        let whole = match pass {
            Pass::Forward => self.plain().cost(dtype),
            pass => self.plain().cost_pass(pass, dtype),
        };
        let seen = self.walked() as f64 / self.steps as f64;
        let seen = if self.causal { 0.5 * seen } else { seen };
        Cost { operations: whole.operations * seen, transcendental: whole.transcendental * seen, ..whole }
    }

    /// Of the sort, and of some passes in all rounds.
    fn cost_of(&self, passes: &[Pass], dtype: Dtype) -> Cost {
        let mut cost = self.sort().map(|sort| sort.cost()).unwrap_or_default();
        for pass in passes.iter().flat_map(|pass| std::iter::repeat_n(*pass, self.rounds())) {
            cost += self.cost_round(pass, dtype);
        }
        cost
    }

    /// Operations and bytes of the forward pass, the sort included.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        self.cost_of(&[Pass::Forward], dtype)
    }

    /// Operations and bytes of the backward pass, the sort included.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.cost_of(&[Pass::Queries, Pass::Keys], dtype);
        cost += self.plain().cost_delta(dtype);
        cost
    }

    fn rounds(&self) -> usize {
        self.order.map_or(1, |order| order.rounds)
    }

    /// Positions that a walk goes through in a round.
    fn walked(&self) -> usize {
        self.before.saturating_add(1).saturating_add(self.after).saturating_mul(self.chunk)
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

    /// The attention to everything, whose statistics are the same.
    fn plain(&self) -> DotProductAttention {
        let Self { batch, heads, steps, size, causal, scale, dropout, .. } = *self;
        DotProductAttention { batch, heads, queries: steps, keys: steps, size, causal, scale, dropout }
    }

    /// Records the forward.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number or type of elements, or a chunk does not divide the steps; [`Error::Limit`] if
    /// chunks or sequences are longer than the driver can walk; and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
    ) -> Result<()> {
        let dtype = self.check(inputs, outputs)?;
        let Inputs { query, key, value, lengths, step, .. } = *inputs;
        let Outputs { context, log_sum_exp, sorted } = *outputs;
        let sorted = self.record_sort(recorder, inputs, sorted)?;
        let forward = Walk {
            kernel: &LSH_ATTENTION,
            pass: Pass::Forward,
            heads: &[query, key, value, context].map(|tensor| self.heads_of(tensor)),
            tensors: &[step, query, key, value, lengths, sorted, context, log_sum_exp],
            cost: self.cost_round(Pass::Forward, dtype),
        };
        self.record_walk(recorder, tile, &forward)
    }

    /// Records the backward: the statistics of each position, then passes that own queries and keys. No sum crosses workgroups, so the
    /// same inputs give the same bits.
    ///
    /// # Errors
    /// As [`LshAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Saved { outputs, d_context, statistics } = *saved;
        let dtype = self.check(inputs, &outputs)?;
        let Inputs { query, key, value, lengths, step, .. } = *inputs;
        let Gradients { query: d_query, key: d_key, value: d_value } = *gradients;
        let made = [("d_query", d_query), ("d_key", d_key), ("d_value", d_value)];
        for (argument, tensor) in [("d_context", d_context)].into_iter().chain(made) {
            expect_of(dtype, NAME, argument, tensor, &self.shape())?;
        }
        expect_scratch(NAME, statistics, self.statistics())?;
        expect_apart(NAME, &made)?;
        let Outputs { context, log_sum_exp, sorted } = outputs;
        let [context, d_context_heads] = [context, d_context].map(|tensor| self.heads_of(tensor));
        let plain = Statistics { context, log_sum_exp, d_context: d_context_heads, statistics };
        self.plain().record_delta(recorder, lengths, &plain)?;
        let sorted = self.record_sort(recorder, inputs, sorted)?;
        for (pass, first, second) in [(Pass::Queries, d_query, d_query), (Pass::Keys, d_key, d_value)] {
            let walk = Walk {
                kernel: &LSH_ATTENTION_BACKWARD,
                pass,
                heads: &[query, key, value, d_context, first, second].map(|tensor| self.heads_of(tensor)),
                tensors: &[step, query, key, value, d_context, statistics, sorted, first, second],
                cost: self.cost_round(pass, dtype),
            };
            self.record_walk(recorder, tile, &walk)?;
        }
        Ok(())
    }

    fn heads_of<'a>(&self, tensor: &'a Tensor) -> Heads<'a> {
        Heads::side_by_side(tensor, 0, self.size)
    }

    /// Records the sort, if there is any, and returns what to bind as its result.
    fn record_sort<'a>(&self, recorder: &mut Recorder, inputs: &Inputs<'a>, sorted: &'a Tensor) -> Result<&'a Tensor> {
        match (self.sort(), inputs.buckets) {
            (Some(sort), Some(buckets)) => sort.record(recorder, buckets, sorted).map(|()| sorted),
            // What is not there is not read.
            _ => Ok(inputs.lengths),
        }
    }

    fn record_walk(&self, recorder: &mut Recorder, tile: Tile, walk: &Walk<'_>) -> Result<()> {
        let Self { batch, heads: count, steps, size, chunk, before, after, .. } = *self;
        let Self { sees_itself, order, padding, dropout, .. } = *self;
        let Walk { kernel, pass, heads, tensors, cost } = *walk;
        let Padding { least, multiple } = padding.unwrap_or(Padding { least: 0, multiple: 0 });
        let tiles = steps / chunk * chunk.div_ceil(tile.height());
        // To write down the positions of a tile takes less than a quarter of its rounds.
        let walked = (5 * self.walked().div_ceil(tile.width())).div_ceil(4);
        self.plain().check_tile(recorder.gpu(), tile, 0, dropout.is_some())?;
        let rounds = walked.saturating_mul(tile.rounds(size, recorder.gpu().checked(), dropout.is_some()));
        let what = || format!("{NAME} of {} chunks of {chunk} a position", before + 1 + after);
        expect_rounds(recorder.gpu(), rounds, what, "Use fewer or shorter chunks, or a GPU.")?;
        let form = self.plain().form(pass, heads, dropout.is_some());
        let (rounds, excluding, hashed) = (self.rounds(), usize::from(!sees_itself), usize::from(order.is_some()));
        for round in 0..rounds {
            let settings = [excluding, rounds, round, hashed, chunk, before, after, least, multiple];
            recorder.launch(&Launch {
                kernel,
                specialisation: tile.specialisation(recorder.gpu().tiles(), form),
                params: &self.plain().words(heads, &settings.map(|setting| setting as u32)),
                tensors,
                workgroups: grid(batch * count * tiles),
                cost,
            })?;
        }
        Ok(())
    }

    fn check(&self, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<Dtype> {
        let Self { batch, heads, steps, size, chunk, before, after, order, padding, dropout, .. } = *self;
        let extents = [("batch", batch), ("heads", heads), ("steps", steps), ("size", size), ("chunk", chunk)];
        expect_extents(NAME, &extents)?;
        expect_extents(NAME, &[("rounds", self.rounds())])?;
        if let Some(Order { buckets, .. }) = order {
            expect_extents(NAME, &[("buckets", buckets)])?;
        }
        let wanted = format!("at most {LARGEST_SIZE}");
        expect_setting(NAME, "size of a head", size <= LARGEST_SIZE, &wanted, size as f64)?;
        let wanted = format!("a number that divides the {steps} steps");
        expect_setting(NAME, "chunk", steps.is_multiple_of(chunk), &wanted, chunk as f64)?;
        if let Some(Padding { least, multiple }) = padding {
            let whole = multiple > 0 && multiple.is_multiple_of(chunk) && i32::try_from(multiple).is_ok();
            expect_setting(NAME, "multiple", whole, &format!("a multiple of the chunk {chunk}"), multiple as f64)?;
            expect_setting(NAME, "least", least <= chunk, &format!("at most the chunk {chunk}"), least as f64)?;
        }
        if let Some(WeightDropout { rate, .. }) = dropout {
            expect_setting(NAME, "dropout", (0.0..1.0).contains(&rate), "a rate in [0, 1)", f64::from(rate))?;
        }
        let counted = i32::try_from(self.walked().saturating_mul(self.rounds())).is_ok();
        expect_setting(NAME, "chunks to either side", counted, "fewer", before.saturating_add(after) as f64)?;
        let dtype = inputs.query.dtype().activation();
        let Inputs { query, key, value, lengths, buckets, .. } = *inputs;
        for (argument, tensor) in [("query", query), ("key", key), ("value", value), ("context", outputs.context)] {
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
