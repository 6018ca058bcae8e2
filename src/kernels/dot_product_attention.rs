//! Scaled dot-product attention in one pass over the keys: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1,
//! with the online softmax of Milakov and Gimelshein (2018) and the recomputing backward of Dao et al., "FlashAttention"
//! (2022). Nothing of size queries x keys is ever stored.

mod tile;

pub use super::heads::Heads;
use super::{
    expect::{expect_apart, expect_of, expect_scratch, expect_setting, expect_tile},
    forms,
    library::shader,
    rounds::expect_rounds,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};
pub use tile::Tile;
pub(super) use tile::{Form, Pass, forms};

pub(super) static DOT_PRODUCT_ATTENTION: Shader =
    shader!("dot_product_attention", |tiles| forms(tiles, &[Pass::Forward]));
pub(super) static DOT_PRODUCT_ATTENTION_BACKWARD: Shader =
    shader!("dot_product_attention_backward", |tiles| forms(tiles, &[Pass::Queries, Pass::Keys]));
pub(super) static DOT_PRODUCT_ATTENTION_DELTA_BACKWARD: Shader =
    shader!("dot_product_attention/delta_backward", deltas);
pub(super) static DOT_PRODUCT_ATTENTION_BIAS_BACKWARD: Shader =
    shader!("dot_product_attention/bias_backward", |tiles| forms(tiles, &[Pass::Diagonals]));
pub(super) static DOT_PRODUCT_ATTENTION_BIAS_SUM_BACKWARD: Shader =
    shader!("dot_product_attention/bias_sum_backward", |tiles| vec![forms::workgroup(tiles)]);

const NAME: &str = "dot_product_attention";

/// The largest size of a head: an invocation keeps its part of a row of the context in registers.
pub const LARGEST_SIZE: usize = 256;

/// ```text
/// score[b, n, t, s] = query[b, n, t] · key[b, n, s] * scale + bias[n, s - t + T - 1]
/// context[b, n, t]  = sum over visible s of dropout(softmax(score[b, n, t]))[s] * value[b, n, s]
/// ```
///
/// Key s is visible to query t where `s < lengths[b]` and, if causal, `s <= t`. A query that sees no key has a zero context
/// and passes no gradient on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DotProductAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T.
    pub queries: usize,
    /// Keys per head, S, masked ones included.
    pub keys: usize,
    /// Size of a query, key or value within one head, D: at most [`LARGEST_SIZE`].
    pub size: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// What products are multiplied with: [`standard_scale`], or 1 where a model does not scale (T5).
    pub scale: f32,
    /// Dropout of the weights, in training.
    pub dropout: Option<WeightDropout>,
}

/// Dropout of attention's weights (Srivastava et al. 2014, in the inverted form) by a hash of seed, step, operation and the weight's
/// number in `[B, N, T, S]`: every pass draws the same mask again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightDropout {
    /// The share of weights that become 0, in `[0, 1)`.
    pub rate: f32,
    /// Which dropout of the model this is.
    pub operation: u32,
}

/// The paper's scale for heads of `size`, 1 / sqrt(D).
pub fn standard_scale(size: usize) -> f32 {
    1.0 / (size as f32).sqrt()
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// T rows a head.
    pub query: Heads<'a>,
    /// S rows a head.
    pub key: Heads<'a>,
    /// S rows a head.
    pub value: Heads<'a>,
    /// `[B]`, u32: how many keys of each sequence are valid. What lies behind them is never read.
    pub lengths: &'a Tensor,
    /// `[N, T + S - 1]`, f32: what the scores of query t and key s get added, at s - t + T - 1. Relative positions of T5, and ALiBi.
    pub bias: Option<&'a Tensor>,
    /// The buffer of [`super::Step`], which dropout reads.
    pub step: &'a Tensor,
}

/// What the backward reads besides the inputs, and the scratch that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// T rows a head, from the forward.
    pub context: Heads<'a>,
    /// `[B, N, T]`, from the forward.
    pub log_sum_exp: &'a Tensor,
    /// T rows a head, the gradient of the context.
    pub d_context: Heads<'a>,
    /// Scratch of [`DotProductAttention::statistics`] elements: each query's log_sum_exp and the sum of `d_context * context`, and the
    /// lengths.
    pub statistics: &'a Tensor,
}

/// What the backward writes. They may be columns of one tensor.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// T rows a head.
    pub query: Heads<'a>,
    /// S rows a head.
    pub key: Heads<'a>,
    /// S rows a head.
    pub value: Heads<'a>,
    /// Where there is a bias: its gradient, and scratch of [`DotProductAttention::bias_parts`] elements.
    pub bias: Option<(&'a Tensor, &'a Tensor)>,
}

/// One dispatch whose workgroups own what a pass owns.
struct Walk<'a> {
    kernel: &'static Shader,
    pass: Pass,
    /// In the order of their layouts in the parameters.
    heads: &'a [Heads<'a>],
    /// In the order of the kernel's bindings.
    tensors: &'a [&'a Tensor],
    cost: Cost,
}

impl DotProductAttention {
    /// What the forward costs. Masked scores count: what is masked is known only on the device.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (scores, queries, keys) = self.counts();
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: scores * (4.0 * self.size as f64 + 4.0 + self.adjusting()),
            transcendental: scores,
            read: bytes * (queries + 2.0 * keys) * self.size as f64,
            written: queries * (bytes * self.size as f64 + ELEMENT as f64),
        }
    }

    /// What the backward costs: the sum of its dispatches. Each pass recomputes scores and weight gradients.
    pub fn cost_backward(&self, dtype: Dtype, biased: bool) -> Cost {
        let mut sum = self.cost_delta(dtype);
        sum += self.cost_pass(Pass::Queries, dtype);
        sum += self.cost_pass(Pass::Keys, dtype);
        if biased {
            sum += self.cost_pass(Pass::Diagonals, dtype);
            sum += self.cost_bias_sum();
        }
        sum
    }

    /// Elements of the scratch in [`Saved`].
    pub fn statistics(&self) -> usize {
        2 * (self.batch * self.heads * self.queries + self.batch)
    }

    /// Elements of the scratch for the gradient of a bias, enough for every tile: of the order of T + S for each head.
    pub fn bias_parts(&self) -> usize {
        self.batch * self.heads * (3 * (self.queries + self.keys) + tile::MOST_DIAGONALS)
    }

    fn counts(&self) -> (f64, f64, f64) {
        let heads = (self.batch * self.heads) as f64;
        (heads * (self.queries * self.keys) as f64, heads * self.queries as f64, heads * self.keys as f64)
    }

    /// Operations for the hash of a weight's dropout.
    fn adjusting(&self) -> f64 {
        if self.dropout.is_some() { 12.0 } else { 0.0 }
    }

    pub(super) fn cost_delta(&self, dtype: Dtype) -> Cost {
        let (_, queries, _) = self.counts();
        let size = self.size as f64;
        Cost {
            operations: 2.0 * queries * size,
            transcendental: 0.0,
            read: queries * (dtype.bytes() as f64 * 2.0 * size + ELEMENT as f64),
            written: ELEMENT as f64 * queries * 2.0,
        }
    }

    pub(super) fn cost_pass(&self, pass: Pass, dtype: Dtype) -> Cost {
        let (scores, queries, keys) = self.counts();
        let bytes = dtype.bytes() as f64;
        let size = self.size as f64;
        // Products of queries and keys, and of context gradients and values; then those that sum up.
        let (products, written) = match pass {
            Pass::Forward | Pass::Queries => (3.0, bytes * size * queries),
            Pass::Keys => (4.0, bytes * size * 2.0 * keys),
            Pass::Diagonals => (2.0, ELEMENT as f64 * 2.0 * (queries + keys)),
        };
        Cost {
            operations: scores * (2.0 * products * size + 5.0 + self.adjusting()),
            transcendental: scores,
            read: bytes * 2.0 * (queries + keys) * size + ELEMENT as f64 * 2.0 * queries,
            written,
        }
    }

    fn cost_bias_sum(&self) -> Cost {
        let (_, queries, keys) = self.counts();
        let read = ELEMENT as f64 * 2.0 * (queries + keys);
        let written = ELEMENT as f64 * (self.heads * (self.queries + self.keys - 1)) as f64;
        Cost { operations: read / ELEMENT as f64, transcendental: 0.0, read, written }
    }

    /// Records the forward: `context`, T rows a head, and `log_sum_exp` `[B, N, T]`, the logarithm of each query's softmax
    /// denominator over the scaled scores, f32; both are 0 for a query that sees no key. The context is of the inputs' type.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another shape or type, [`Error::Limit`] if the heads are larger than
    /// [`LARGEST_SIZE`] or the sequences longer than the driver can walk, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        context: Heads<'_>,
        log_sum_exp: &Tensor,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        let Inputs { query, key, value, lengths, bias, step } = *inputs;
        context.expect(NAME, "context", query.tensor.dtype(), self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &self.of_queries()[..3])?;
        expect_apart(NAME, &[("context", context.tensor), ("log_sum_exp", log_sum_exp)])?;
        let bias = bias.unwrap_or(lengths);
        let forward = Walk {
            kernel: &DOT_PRODUCT_ATTENTION,
            pass: Pass::Forward,
            heads: &[query, key, value, context],
            tensors: &[step, query.tensor, key.tensor, value.tensor, lengths, bias, context.tensor, log_sum_exp],
            cost: self.cost(query.tensor.dtype()),
        };
        self.record_walk(recorder, tile, inputs, &forward)
    }

    /// Records the backward: the statistics of each query, then a pass that owns queries, then one that owns keys. No sum
    /// crosses workgroups, so the same inputs give the same bits.
    ///
    /// # Errors
    /// As [`DotProductAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        self.check_gradients(inputs, saved, gradients)?;
        self.record_delta(recorder, inputs.lengths, saved)?;
        let Inputs { query, key, value, bias, step, .. } = *inputs;
        let Saved { d_context, statistics, .. } = *saved;
        let dtype = query.tensor.dtype();
        let read = [query, key, value, d_context];
        let [query_tensor, key_tensor, value_tensor, d_context_tensor] = read.map(|heads| heads.tensor);
        // What is not there is not read.
        let bias = bias.unwrap_or(statistics);
        let tensors = [step, query_tensor, key_tensor, value_tensor, d_context_tensor, statistics, bias];
        for (pass, first, second) in
            [(Pass::Queries, gradients.query, gradients.query), (Pass::Keys, gradients.key, gradients.value)]
        {
            let walk = Walk {
                kernel: &DOT_PRODUCT_ATTENTION_BACKWARD,
                pass,
                heads: &[read.as_slice(), &[first, second]].concat(),
                tensors: &[tensors.as_slice(), &[first.tensor, second.tensor]].concat(),
                cost: self.cost_pass(pass, dtype),
            };
            self.record_walk(recorder, tile, inputs, &walk)?;
        }
        let Some((d_bias, parts)) = gradients.bias else { return Ok(()) };
        let walk = Walk {
            kernel: &DOT_PRODUCT_ATTENTION_BIAS_BACKWARD,
            pass: Pass::Diagonals,
            heads: &read,
            tensors: &[tensors.as_slice(), &[parts]].concat(),
            cost: self.cost_pass(Pass::Diagonals, dtype),
        };
        self.record_walk(recorder, tile, inputs, &walk)?;
        self.record_bias_sum(recorder, tile, parts, d_bias)
    }

    /// Records the statistics of each query, and the lengths.
    pub(super) fn record_delta(&self, recorder: &mut Recorder, lengths: &Tensor, saved: &Saved<'_>) -> Result<()> {
        let Saved { context, log_sum_exp, d_context, statistics } = *saved;
        let rows = self.batch * self.heads * self.queries;
        let tiles = *recorder.gpu().tiles();
        let sizes = [rows, self.heads, self.queries, self.size, self.batch, self.keys, 0, 0].map(|size| size as u32);
        let dtype = context.tensor.dtype();
        recorder.launch(&Launch {
            kernel: &DOT_PRODUCT_ATTENTION_DELTA_BACKWARD,
            specialisation: delta(&tiles, dtype),
            params: &[context.layout().as_slice(), &d_context.layout(), &sizes].concat(),
            tensors: &[context.tensor, d_context.tensor, log_sum_exp, lengths, statistics],
            workgroups: grid(rows.div_ceil(tiles.workgroup as usize)),
            cost: self.cost_delta(dtype),
        })
    }

    fn record_bias_sum(&self, recorder: &mut Recorder, tile: Tile, parts: &Tensor, d_bias: &Tensor) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let sizes = [self.batch, self.heads, self.queries, self.keys, tile.height(), tile.width()];
        recorder.launch(&Launch {
            kernel: &DOT_PRODUCT_ATTENTION_BIAS_SUM_BACKWARD,
            specialisation: forms::workgroup(&tiles),
            params: &sizes.map(|size| size as u32),
            tensors: &[parts, d_bias],
            workgroups: grid(d_bias.elements().div_ceil(tiles.workgroup as usize)),
            cost: self.cost_bias_sum(),
        })
    }

    fn record_walk(&self, recorder: &mut Recorder, tile: Tile, inputs: &Inputs<'_>, walk: &Walk<'_>) -> Result<()> {
        let Walk { kernel, pass, heads, tensors, cost } = *walk;
        // Those of a head, and the tiles that each goes through.
        let (workgroups, walked) = match pass {
            Pass::Forward | Pass::Queries => (self.queries.div_ceil(tile.height()), self.keys.div_ceil(tile.width())),
            Pass::Keys => (self.keys.div_ceil(tile.height()), self.queries.div_ceil(tile.width())),
            Pass::Diagonals => (tile.bands(self.queries, self.keys), self.queries.div_ceil(tile.height())),
        };
        let adjusted = inputs.bias.is_some() || self.dropout.is_some();
        self.check_tile(recorder.gpu(), tile, walked, adjusted)?;
        recorder.launch(&Launch {
            kernel,
            specialisation: tile.specialisation(recorder.gpu().tiles(), self.form(pass, heads, adjusted)),
            params: &self.words(heads, &[u32::from(inputs.bias.is_some())]),
            tensors,
            workgroups: grid(self.batch * self.heads * workgroups),
            cost,
        })
    }

    /// The form of a pass over heads that lie like these.
    pub(super) fn form(&self, pass: Pass, heads: &[Heads<'_>], adjusted: bool) -> Form {
        let aligned =
            |piece: &usize| self.size.is_multiple_of(*piece) && heads.iter().all(|heads| heads.aligned(*piece));
        let piece = [8, 4].into_iter().find(aligned).unwrap_or(1);
        let together = matches!((pass, heads), (Pass::Keys, [.., first, second]) if first.shares(second));
        Form { size: self.size, piece, pass, adjusted, together, dtype: heads[0].tensor.dtype() }
    }

    /// The words of the parameters: layouts, sizes and settings, what the pass has besides, and dropout.
    pub(super) fn words(&self, heads: &[Heads<'_>], besides: &[u32]) -> Vec<u32> {
        let sizes = [self.heads, self.batch * self.heads, self.queries, self.keys, self.size].map(|size| size as u32);
        let dropout = self.dropout.unwrap_or(WeightDropout { rate: 0.0, operation: 0 });
        let rate = f64::from(dropout.rate);
        [
            heads.iter().flat_map(Heads::layout).collect::<Vec<_>>().as_slice(),
            &sizes,
            &[u32::from(self.causal), self.scale.to_bits()],
            besides,
            &[dropout.operation, (rate * 4_294_967_296.0) as u32, ((1.0 / (1.0 - rate)) as f32).to_bits(), 0],
        ]
        .concat()
    }

    fn of_queries(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.size]
    }

    fn of_keys(&self) -> [usize; 4] {
        [self.batch, self.heads, self.keys, self.size]
    }

    fn of_bias(&self) -> [usize; 2] {
        [self.heads, self.queries + self.keys - 1]
    }

    pub(super) fn check_inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let dtype = inputs.query.tensor.dtype();
        inputs.query.expect(NAME, "query", dtype, self.of_queries())?;
        inputs.key.expect(NAME, "key", dtype, self.of_keys())?;
        inputs.value.expect(NAME, "value", dtype, self.of_keys())?;
        expect_of(Dtype::U32, NAME, "lengths", inputs.lengths, &[self.batch])?;
        if let Some(bias) = inputs.bias {
            expect_of(Dtype::F32, NAME, "bias", bias, &self.of_bias())?;
        }
        if let Some(WeightDropout { rate, .. }) = self.dropout {
            expect_setting(NAME, "dropout", (0.0..1.0).contains(&rate), "a rate in [0, 1)", f64::from(rate))?;
        }
        if self.size > LARGEST_SIZE {
            return Err(Error::Limit {
                what: "dot_product_attention".into(),
                need: self.size as u64,
                limit: "size of a head",
                have: LARGEST_SIZE as u64,
                remedy: "Use more heads of a smaller size.".into(),
            });
        }
        Ok(())
    }

    pub(super) fn check_gradients(
        &self,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let dtype = inputs.query.tensor.dtype();
        let [batch, heads, queries, _] = self.of_queries();
        saved.context.expect(NAME, "context", dtype, self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", saved.log_sum_exp, &[batch, heads, queries])?;
        saved.d_context.expect(NAME, "d_context", dtype, self.of_queries())?;
        expect_scratch(NAME, saved.statistics, self.statistics())?;
        let Gradients { query, key, value, bias } = gradients;
        query.expect(NAME, "d_query", dtype, self.of_queries())?;
        key.expect(NAME, "d_key", dtype, self.of_keys())?;
        value.expect(NAME, "d_value", dtype, self.of_keys())?;
        let width = self.heads * self.size;
        let apart = key.is_apart(value, width) && query.is_apart(key, width) && query.is_apart(value, width);
        expect_setting(NAME, "gradients", apart, "memory of its own for each, or columns of its own", width as f64)?;
        if let Some((d_bias, parts)) = bias {
            expect_of(Dtype::F32, NAME, "d_bias", d_bias, &self.of_bias())?;
            expect_scratch(NAME, parts, self.bias_parts())?;
        }
        Ok(())
    }

    /// Checks that there is a form for the tile, and that the driver goes through its rounds.
    pub(super) fn check_tile(&self, gpu: &Gpu, tile: Tile, walked: usize, adjusted: bool) -> Result<()> {
        expect_tile(gpu, tile, Tile::of(gpu.tiles(), self.size))?;
        expect_setting(NAME, "tile", tile.holds(self.size), "one that holds such heads", self.size as f64)?;
        let what = || format!("{NAME} of {} queries and {} keys", self.queries, self.keys);
        let remedy = "Use shorter sequences, kernels without checks, or a GPU.";
        let per_tile = tile.rounds(self.size, gpu.checked(), adjusted);
        expect_rounds(gpu, walked * per_tile, what, remedy)
    }
}

fn delta(tiles: &Tiles, dtype: Dtype) -> Specialisation {
    forms::workgroup(tiles).element(dtype)
}

fn deltas(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| delta(tiles, dtype))
}
