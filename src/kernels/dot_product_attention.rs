//! Scaled dot-product attention in one pass over the keys: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1,
//! with the online softmax of Milakov and Gimelshein (2018) and the recomputing backward of Dao et al., "FlashAttention"
//! (2022). Nothing of size queries x keys is ever stored.

use serde::{Deserialize, Serialize};

pub use super::heads::Heads;
use super::{
    expect::{expect_apart, expect_of, expect_setting, expect_tile},
    forms,
    library::shader,
    rounds::expect_rounds,
    tunable::{Tunable, tuned},
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static DOT_PRODUCT_ATTENTION: Shader = shader!("dot_product_attention", forwards);
pub(super) static DOT_PRODUCT_ATTENTION_BACKWARD: Shader = shader!("dot_product_attention_backward", backwards);
pub(super) static DOT_PRODUCT_ATTENTION_DELTA_BACKWARD: Shader =
    shader!("dot_product_attention/delta_backward", deltas);

const NAME: &str = "dot_product_attention";

/// The largest size of a head: an invocation keeps its part of a row of the context in registers.
pub const LARGEST_SIZE: usize = 128;

/// ```text
/// score[b, n, t, s] = query[b, n, t] · key[b, n, s] * scale
/// context[b, n, t]  = sum over visible s of softmax(score[b, n, t])[s] * value[b, n, s]
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
    /// `[B, N, T, 2]`, scratch: each query's log_sum_exp and the sum of `d_context * context`.
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
}

/// What one workgroup computes: a tile of rows (queries, or keys where their gradients are made) against tiles of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// The subgroup form (`lanes` is the subgroup's size), or the form with tiles in workgroup memory.
    pub subgroups: bool,
    /// Invocations along the columns and the features.
    pub lanes: u32,
    /// Invocations along the rows (1 in the subgroup form).
    pub groups: u32,
    /// Rows per invocation: a multiple of `lanes` in the subgroup form, else of 4.
    pub rows: u32,
    /// vec4s of columns per invocation.
    pub blocks: u32,
}

impl Tile {
    /// The configuration for an adapter and the size of a head. Larger heads take fewer rows: the registers hold both.
    ///
    /// On lavapipe (two cores, forward of B 1, N 8, T and S 2048, D 64), where loads cost more than arithmetic:
    ///
    /// | rung | gain |
    /// |---|---|
    /// | 32 rows instead of 16 | 15 % |
    /// | 2 blocks of columns | none: they overflow the registers, and the driver compiles them twice as long |
    /// | features in 64-bit words | 20 %; with 2 blocks half of that |
    ///
    /// On RDNA2, where workgroup memory and registers decide how many subgroups a SIMD holds:
    ///
    /// | rung | subgroups |
    /// |---|---|
    /// | an array each for what products and what sums stage, 4 vec4s of features at D 128 | 4 to 8 |
    /// | one array for both, which also lets the compiler aim at fewer registers | 8 up to D 64 |
    /// | twice the lanes past D 64: never more than 2 vec4s of features | 8 to 14 |
    pub fn choose(gpu: &Gpu, size: usize) -> Self {
        tuned(gpu, Self::class(size))
            .filter(|tile: &Self| tile.holds(size))
            .unwrap_or_else(|| Self::of(gpu.tiles(), size))
    }

    /// The class of a size of heads.
    pub fn class(size: usize) -> &'static str {
        match size {
            0..=32 => "size <= 32",
            33..=64 => "size <= 64",
            _ => "size > 64",
        }
    }

    fn of(tiles: &Tiles, size: usize) -> Self {
        match tiles.subgroup {
            Some(lanes) => {
                let rows = if size <= 64 { 32 } else { 16 };
                Self { subgroups: true, lanes, groups: 1, rows: lanes.max(rows), blocks: 1 }
            }
            None => {
                let lanes = if size <= 64 { 8 } else { 16 };
                Self { subgroups: false, lanes, groups: 8, rows: 4, blocks: 1 }
            }
        }
    }

    /// Whether an invocation's registers hold its part of a head, on a GPU with those of enough others.
    fn holds(&self, size: usize) -> bool {
        self.subgroups || self.features(size) <= 2
    }

    /// `piece`: how many elements sizes, offsets and strides are multiples of.
    fn specialisation(&self, tiles: &Tiles, [size, piece]: [usize; 2], of_keys: bool, dtype: Dtype) -> Specialisation {
        let words64 = tiles.wide && dtype == Dtype::F32;
        let wide = self.subgroups && words64 && piece.is_multiple_of(8) && self.features(size) > 1;
        Specialisation::new()
            .element(dtype)
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(piece.is_multiple_of(4), "VECTOR")
            .define_if(wide, "WIDE")
            .define_if(of_keys, "KEY")
            .constant("LANES", self.lanes)
            .constant("GROUPS", self.groups)
            .constant("ROWS", self.rows)
            .constant("BLOCKS", self.blocks)
            .constant("FEATURES", self.features(size))
    }

    fn height(&self) -> usize {
        (self.groups * self.rows) as usize
    }

    fn width(&self) -> usize {
        (self.lanes * self.blocks * 4) as usize
    }

    /// vec4s of a head that an invocation holds; powers of two, so that few forms exist.
    fn features(&self, size: usize) -> u32 {
        (size as u32).div_ceil(self.lanes * 4).next_power_of_two()
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = NAME;
    const CLASSES: &'static [&'static str] = &["size <= 32", "size <= 64", "size > 64"];

    /// On GPUs: twice the rows read keys and values half as often, half of them fill more of the card where queries are few.
    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let defaults = [64, 128].map(|size| Self::of(tiles, size));
        let in_workgroup_memory = |[lanes, groups]: [u32; 2]| Self { lanes, groups, ..defaults[0] };
        let others = [[8, 16], [16, 4]].map(in_workgroup_memory);
        forms::distinct(defaults.into_iter().chain(others.into_iter().filter(|_| tiles.subgroup.is_none())))
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        Self::candidates(tiles)
    }
}

/// One dispatch whose workgroups own tiles of queries, or of keys.
struct Pass<'a> {
    kernel: &'static Shader,
    of_keys: bool,
    /// In the order of their layouts in the parameters.
    heads: &'a [Heads<'a>],
    /// In the order of the kernel's bindings.
    tensors: &'a [&'a Tensor],
    cost: Cost,
}

impl DotProductAttention {
    /// What the forward costs. Masked scores count: what is masked is known only on the device.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (scores, queries, keys) = self.extents();
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: scores * (4.0 * self.size as f64 + 4.0),
            transcendental: scores,
            read: bytes * (queries + 2.0 * keys) * self.size as f64,
            written: queries * (bytes * self.size as f64 + ELEMENT as f64),
        }
    }

    /// What the backward costs: the sum of its three dispatches. Either pass recomputes scores and weight gradients.
    pub fn cost_backward(&self, dtype: Dtype) -> Cost {
        let mut sum = self.cost_delta(dtype);
        sum += self.cost_pass(false, dtype);
        sum += self.cost_pass(true, dtype);
        sum
    }

    fn extents(&self) -> (f64, f64, f64) {
        let heads = (self.batch * self.heads) as f64;
        (heads * (self.queries * self.keys) as f64, heads * self.queries as f64, heads * self.keys as f64)
    }

    fn cost_delta(&self, dtype: Dtype) -> Cost {
        let (_, queries, _) = self.extents();
        let size = self.size as f64;
        Cost {
            operations: 2.0 * queries * size,
            transcendental: 0.0,
            read: queries * (dtype.bytes() as f64 * 2.0 * size + ELEMENT as f64),
            written: ELEMENT as f64 * queries * 2.0,
        }
    }

    fn cost_pass(&self, of_keys: bool, dtype: Dtype) -> Cost {
        let (scores, queries, keys) = self.extents();
        let bytes = dtype.bytes() as f64;
        let (size, products) = (self.size as f64, if of_keys { 4.0 } else { 3.0 });
        Cost {
            operations: scores * (2.0 * products * size + 5.0),
            transcendental: scores,
            read: bytes * 2.0 * (queries + keys) * size + ELEMENT as f64 * 2.0 * queries,
            written: bytes * size * if of_keys { 2.0 * keys } else { queries },
        }
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
        let Inputs { query, key, value, lengths } = *inputs;
        context.expect(NAME, "context", query.tensor.dtype(), self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &self.of_queries()[..3])?;
        expect_apart(NAME, &[("context", context.tensor), ("log_sum_exp", log_sum_exp)])?;
        let forward = Pass {
            kernel: &DOT_PRODUCT_ATTENTION,
            of_keys: false,
            heads: &[query, key, value, context],
            tensors: &[query.tensor, key.tensor, value.tensor, lengths, context.tensor, log_sum_exp],
            cost: self.cost(query.tensor.dtype()),
        };
        self.record_pass(recorder, tile, &forward)
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
        self.check_gradients(inputs.query.tensor.dtype(), saved, gradients)?;
        let Inputs { query, key, value, lengths } = *inputs;
        let Saved { context, log_sum_exp, d_context, statistics } = *saved;
        let dtype = query.tensor.dtype();
        let rows = self.batch * self.heads * self.queries;
        let tiles = *recorder.gpu().tiles();
        let sizes = [rows, self.heads, self.queries, self.size].map(|size| size as u32);
        recorder.launch(&Launch {
            kernel: &DOT_PRODUCT_ATTENTION_DELTA_BACKWARD,
            specialisation: delta(&tiles, dtype),
            params: &[context.layout(), d_context.layout(), sizes].concat(),
            tensors: &[context.tensor, d_context.tensor, log_sum_exp, statistics],
            workgroups: grid(rows.div_ceil(tiles.workgroup as usize)),
            cost: self.cost_delta(dtype),
        })?;
        for (of_keys, first, second) in
            [(false, gradients.query, gradients.query), (true, gradients.key, gradients.value)]
        {
            // One tensor is bound under one reference, so that the launch sees that its parts are meant to be.
            let second_tensor = if second.shares(&first) { first.tensor } else { second.tensor };
            let pass = Pass {
                kernel: &DOT_PRODUCT_ATTENTION_BACKWARD,
                of_keys,
                heads: &[query, key, value, d_context, first, second],
                tensors: &[
                    query.tensor,
                    key.tensor,
                    value.tensor,
                    d_context.tensor,
                    statistics,
                    lengths,
                    first.tensor,
                    second_tensor,
                ],
                cost: self.cost_pass(of_keys, dtype),
            };
            self.record_pass(recorder, tile, &pass)?;
        }
        Ok(())
    }

    fn record_pass(&self, recorder: &mut Recorder, tile: Tile, pass: &Pass<'_>) -> Result<()> {
        let Pass { kernel, of_keys, heads, tensors, cost } = *pass;
        let (rows, columns) = if of_keys { (self.keys, self.queries) } else { (self.queries, self.keys) };
        self.check_tile(recorder.gpu(), tile, columns)?;
        let word = |value: usize| value as u32;
        let all = self.batch * self.heads;
        let sizes = [self.heads, all, self.queries, self.keys, self.size].map(word);
        let aligned =
            |piece: &usize| self.size.is_multiple_of(*piece) && heads.iter().all(|heads| heads.aligned(*piece));
        let piece = [8, 4].into_iter().find(aligned).unwrap_or(1);
        let dtype = heads[0].tensor.dtype();
        recorder.launch(&Launch {
            kernel,
            specialisation: tile.specialisation(recorder.gpu().tiles(), [self.size, piece], of_keys, dtype),
            params: &[
                heads.iter().flat_map(Heads::layout).collect::<Vec<_>>().as_slice(),
                &sizes,
                &[u32::from(self.causal), self.scale.to_bits(), 0],
            ]
            .concat(),
            tensors,
            workgroups: grid(all * rows.div_ceil(tile.height())),
            cost,
        })
    }

    fn of_queries(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.size]
    }

    fn of_keys(&self) -> [usize; 4] {
        [self.batch, self.heads, self.keys, self.size]
    }

    fn check_inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let dtype = inputs.query.tensor.dtype();
        inputs.query.expect(NAME, "query", dtype, self.of_queries())?;
        inputs.key.expect(NAME, "key", dtype, self.of_keys())?;
        inputs.value.expect(NAME, "value", dtype, self.of_keys())?;
        expect_of(Dtype::U32, NAME, "lengths", inputs.lengths, &[self.batch])?;
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

    fn check_gradients(&self, dtype: Dtype, saved: &Saved<'_>, gradients: &Gradients<'_>) -> Result<()> {
        let [batch, heads, queries, _] = self.of_queries();
        saved.context.expect(NAME, "context", dtype, self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", saved.log_sum_exp, &[batch, heads, queries])?;
        saved.d_context.expect(NAME, "d_context", dtype, self.of_queries())?;
        expect_of(Dtype::F32, NAME, "statistics", saved.statistics, &[batch, heads, queries, 2])?;
        let Gradients { query, key, value } = gradients;
        query.expect(NAME, "d_query", dtype, self.of_queries())?;
        key.expect(NAME, "d_key", dtype, self.of_keys())?;
        value.expect(NAME, "d_value", dtype, self.of_keys())?;
        let width = self.heads * self.size;
        let apart = key.is_apart(value, width) && query.is_apart(key, width) && query.is_apart(value, width);
        expect_setting(NAME, "gradients", apart, "memory of its own for each, or columns of its own", width as f64)
    }

    /// Checks that there is a form for the tile, and that the driver goes through its rounds.
    fn check_tile(&self, gpu: &Gpu, tile: Tile, columns: usize) -> Result<()> {
        expect_tile(gpu, tile, Tile::of(gpu.tiles(), self.size))?;
        expect_setting(NAME, "tile", tile.holds(self.size), "one that holds such heads", self.size as f64)?;
        let width = tile.width();
        // Counted on llvmpipe by the length at which results turn wrong; these bound it from above by 2 to 15 %. With every
        // check in them, inner loops stay loops: at most `rows + 5` times as many iterations.
        let per_tile = if tile.subgroups {
            2 * self.size.div_ceil(4) + 2 * (width / 4) + 8
        } else {
            14 * self.size.div_ceil(16) + 2 * (width / 8) * (3 + tile.features(self.size) as usize) + 1
        };
        let per_tile = if gpu.checked() { per_tile * (tile.rows as usize + 5) } else { per_tile };
        let what = || format!("{NAME} over {columns} positions");
        let remedy = "Use shorter sequences, kernels without checks, or a GPU.";
        expect_rounds(gpu, columns.div_ceil(width) * per_tile, what, remedy)
    }
}

fn of_every_size(tiles: &Tiles, of_keys: bool) -> Vec<Specialisation> {
    // What sizes are multiples of, offsets and strides may be too, or not.
    let of_size = |size, dtype| {
        let candidates = Tile::candidates(tiles).into_iter().filter(move |tile| tile.holds(size));
        candidates.chain([Tile::of(tiles, size)]).map(move |tile| tile.specialisation(tiles, [size; 2], of_keys, dtype))
    };
    let every_size = |dtype| forms::distinct((1..=LARGEST_SIZE).flat_map(|size| of_size(size, dtype)));
    forms::each_element(tiles, every_size).concat()
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_size(tiles, false)
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|of_keys| of_every_size(tiles, of_keys)).concat()
}

fn delta(tiles: &Tiles, dtype: Dtype) -> Specialisation {
    forms::workgroup(tiles).element(dtype)
}

fn deltas(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| delta(tiles, dtype))
}
