//! Attention of one new query a row to the keys and values of its earlier steps: dot-product attention (Vaswani et al. 2017,
//! section 3.2.1) while a text is generated. Caches stay where they are when hypotheses continue others: a table says which row
//! wrote each position of a hypothesis.

use super::{
    expect::{expect_apart, expect_dtype, expect_extents, expect_matrix, expect_of, expect_scratch, expect_setting},
    forms,
    library::shader,
    matrix::Matrix,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static CACHED_ATTENTION: Shader = shader!("cached_attention", attends);
pub(super) static CACHED_ATTENTION_APPEND: Shader = shader!("cached_attention/append", elements);
pub(super) static CACHED_ATTENTION_FOLLOW: Shader =
    shader!("cached_attention/follow", |tiles| vec![forms::workgroup(tiles)]);
pub(super) static CACHED_ATTENTION_MERGE: Shader = shader!("cached_attention/merge", elements);

const NAME: &str = "cached_attention";

/// The positions that one workgroup takes: as many more workgroups as a row's text is longer.
const SPAN: usize = 256;

/// The largest size of a head: a workgroup keeps a row of the context in registers.
pub const LARGEST_SIZE: usize = 256;

/// ```text
/// position[r]    = starts[r] + counter + step
/// score[r, n, s] = query[r, n] · key[origins[r, s], s, n] * scale + bias
/// context[r, n]  = sum over first[r] <= s <= position[r] of softmax(score[r, n])[s] * value[origins[r, s], s, n]
/// ```
///
/// The first position that a row sees is 0, or that of [`Segments`]. Positions past the capacity are the last one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttention {
    /// Rows, R: hypotheses.
    pub rows: usize,
    /// Heads, N.
    pub heads: usize,
    /// Size of a head, D: at most [`LARGEST_SIZE`].
    pub size: usize,
    /// The most positions of a row.
    pub capacity: usize,
    /// What products are multiplied with.
    pub scale: f32,
    /// What a row sees of its earlier positions; without it all.
    pub segments: Option<Segments>,
}

/// Segments of a text, in each of which a row sees what is before it there, and a memory of what is before the segment (Dai et al.
/// 2019, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Positions of a segment.
    pub steps: usize,
    /// Positions before a segment that are remembered.
    pub memory: usize,
}

/// The keys and values of earlier steps, and where each row stands.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// `[R, capacity, N·D]`
    pub key: &'a Tensor,
    /// `[R, capacity, N·D]`
    pub value: &'a Tensor,
    /// `[R, capacity]`, u32: the row that wrote each position of a row. At first each row is its own, or, in a prompt that several
    /// rows continue, the one that has its keys and values.
    pub origins: &'a Tensor,
    /// `[R]`, u32: the positions that each row's cache had before the first step.
    pub starts: &'a Tensor,
    /// `[1]`, u32: the steps that a search has counted.
    pub counter: &'a Tensor,
    /// The steps since then.
    pub step: usize,
}

/// What scores get added by the distance of a position from a row's own.
#[derive(Clone, Copy, Debug)]
pub enum Bias<'a> {
    /// `[N, 2·capacity - 1]`, f32: for all rows, at s - position + capacity - 1, as [`super::dot_product_attention`] has it for as many
    /// queries and keys.
    OfHeads(&'a Tensor),
    /// `[R, N, capacity]`, f32: for each row, at position - s, and multiplied with the scale, such as the products of a query with
    /// vectors of distances.
    OfRows(&'a Tensor),
}

impl CachedAttention {
    /// What a step costs with full caches: how long rows are is known only on the device.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let scores = (self.rows * self.heads * self.capacity) as f64;
        let context = (self.rows * self.width()) as f64 * dtype.bytes() as f64;
        Cost {
            operations: scores * (4.0 * self.size as f64 + 4.0),
            transcendental: scores,
            read: scores * (2.0 * self.size as f64 * dtype.bytes() as f64 + ELEMENT as f64) + context,
            written: self.part_bytes(),
        }
    }

    /// Elements of scratch.
    pub fn scratch(&self) -> usize {
        self.rows * self.heads * self.splits() * (self.size + 2)
    }

    fn part_bytes(&self) -> f64 {
        self.scratch() as f64 * ELEMENT as f64
    }

    fn width(&self) -> usize {
        self.heads * self.size
    }

    fn splits(&self) -> usize {
        self.capacity.div_ceil(SPAN)
    }

    /// Records the copy of a step's `key` and `value`, rows of N·D elements, to each row's position.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another shape or type, and what [`Recorder::dispatch`] reports.
    pub fn record_append(
        &self,
        recorder: &mut Recorder,
        key: Matrix<'_>,
        value: Matrix<'_>,
        cache: &Cache<'_>,
    ) -> Result<()> {
        self.check_cache(cache)?;
        let dtype = cache.key.dtype();
        for (argument, matrix) in [("key", &key), ("value", &value)] {
            expect_matrix(NAME, argument, matrix, [1, self.rows, self.width()])?;
            expect_dtype(dtype, NAME, argument, matrix.tensor)?;
        }
        expect_apart(NAME, &[("the cache of keys", cache.key), ("the cache of values", cache.value)])?;
        let elements = self.rows * self.width();
        let bytes = 2.0 * elements as f64 * dtype.bytes() as f64;
        let tiles = *recorder.gpu().tiles();
        let sizes = [self.rows, self.width(), self.capacity, cache.step];
        let places = [key.offset, key.stride, value.offset, value.stride];
        recorder.launch(&Launch {
            kernel: &CACHED_ATTENTION_APPEND,
            specialisation: forms::workgroup(&tiles).element(dtype),
            params: &[sizes, places].concat().iter().map(|word| *word as u32).collect::<Vec<_>>(),
            tensors: &[key.tensor, value.tensor, cache.starts, cache.counter, cache.key, cache.value],
            workgroups: grid(elements.div_ceil(tiles.workgroup as usize)),
            cost: Cost { operations: 0.0, transcendental: 0.0, read: bytes, written: bytes },
        })
    }

    /// Records the contexts `[R, N·D]` of the queries, rows of N·D elements, over every position up to each row's own, whose key and
    /// value have been appended.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another shape or type, [`crate::Error::Limit`] if the caches are longer than
    /// the driver can walk, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        query: Matrix<'_>,
        bias: Option<Bias<'_>>,
        cache: &Cache<'_>,
        [scratch, context]: [&Tensor; 2],
    ) -> Result<()> {
        self.check_cache(cache)?;
        let dtype = cache.key.dtype();
        expect_matrix(NAME, "query", &query, [1, self.rows, self.width()])?;
        expect_dtype(dtype, NAME, "query", query.tensor)?;
        let (kind, bias) = match bias {
            // What is not there is not read.
            None => (0, cache.starts),
            Some(Bias::OfHeads(bias)) => {
                expect_of(Dtype::F32, NAME, "bias", bias, &[self.heads, 2 * self.capacity - 1])?;
                (1, bias)
            }
            Some(Bias::OfRows(bias)) => {
                expect_of(Dtype::F32, NAME, "bias", bias, &[self.rows, self.heads, self.capacity])?;
                (2, bias)
            }
        };
        expect_scratch(NAME, scratch, self.scratch())?;
        expect_of(dtype, NAME, "context", context, &[self.rows, self.width()])?;
        let what = || format!("{NAME} over {} positions", self.capacity);
        let tiles = *recorder.gpu().tiles();
        let rounds = SPAN / tiles.row as usize * (self.size.div_ceil(4) + 3 * LARGEST_SIZE);
        expect_rounds(recorder.gpu(), rounds + 2 * self.splits(), what, "Generate shorter texts, or use a GPU.")?;
        let vector = query.aligned() && self.size.is_multiple_of(4);
        let segments = self.segments.unwrap_or(Segments { steps: self.capacity, memory: 0 });
        expect_extents(NAME, &[("steps of a segment", segments.steps)])?;
        let word = |value: usize| value as u32;
        recorder.launch(&Launch {
            kernel: &CACHED_ATTENTION,
            specialisation: attend(&tiles, dtype, vector),
            params: &[
                word(self.rows),
                word(self.heads),
                word(self.size),
                word(self.capacity),
                word(query.offset),
                word(query.stride),
                word(cache.step),
                self.scale.to_bits(),
                word(self.splits()),
                kind,
                word(segments.steps),
                word(segments.memory),
            ],
            tensors: &[query.tensor, cache.key, cache.value, cache.origins, cache.starts, cache.counter, bias, scratch],
            workgroups: grid(self.rows * self.heads * self.splits()),
            cost: self.cost(dtype),
        })?;
        let elements = self.rows * self.width();
        recorder.launch(&Launch {
            kernel: &CACHED_ATTENTION_MERGE,
            specialisation: forms::workgroup(&tiles).element(dtype),
            params: &[self.rows, self.heads, self.size, self.splits()].map(word),
            tensors: &[scratch, context],
            workgroups: grid(elements.div_ceil(tiles.workgroup as usize)),
            cost: Cost {
                operations: 2.0 * self.part_bytes() / ELEMENT as f64,
                transcendental: (elements * self.splits()) as f64,
                read: self.part_bytes(),
                written: elements as f64 * dtype.bytes() as f64,
            },
        })
    }

    /// Records `next_origins` `[R, capacity]`, u32: what the cache's are after a search has chosen `parents` `[R]`, u32, of rows whose
    /// last step has been appended.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another shape or type, and what [`Recorder::dispatch`] reports.
    pub fn record_follow(
        &self,
        recorder: &mut Recorder,
        parents: &Tensor,
        cache: &Cache<'_>,
        next_origins: &Tensor,
    ) -> Result<()> {
        self.check_cache(cache)?;
        expect_of(Dtype::U32, NAME, "next_origins", next_origins, &[self.rows, self.capacity])?;
        expect_of(Dtype::U32, NAME, "parents", parents, &[self.rows])?;
        let tiles = *recorder.gpu().tiles();
        let elements = self.rows * self.capacity;
        let bytes = elements as f64 * ELEMENT as f64;
        recorder.launch(&Launch {
            kernel: &CACHED_ATTENTION_FOLLOW,
            specialisation: forms::workgroup(&tiles),
            params: &[self.rows, self.capacity, cache.step].map(|word| word as u32),
            tensors: &[cache.origins, parents, cache.starts, cache.counter, next_origins],
            workgroups: grid(elements.div_ceil(tiles.workgroup as usize)),
            cost: Cost { operations: 0.0, transcendental: 0.0, read: bytes, written: bytes },
        })
    }

    fn check_cache(&self, cache: &Cache<'_>) -> Result<()> {
        let Self { rows, heads, size, capacity, .. } = *self;
        expect_extents(NAME, &[("rows", rows), ("heads", heads), ("size", size), ("capacity", capacity)])?;
        let wanted = format!("at most {LARGEST_SIZE}");
        expect_setting(NAME, "size of a head", size <= LARGEST_SIZE, &wanted, size as f64)?;
        let dtype = cache.key.dtype().activation();
        expect_of(dtype, NAME, "the cache of keys", cache.key, &[rows, capacity, self.width()])?;
        expect_of(dtype, NAME, "the cache of values", cache.value, &[rows, capacity, self.width()])?;
        expect_of(Dtype::U32, NAME, "origins", cache.origins, &[rows, capacity])?;
        expect_of(Dtype::U32, NAME, "starts", cache.starts, &[rows])?;
        expect_of(Dtype::U32, NAME, "counter", cache.counter, &[1])
    }
}

fn attend(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::row_reduction(tiles).element(dtype).define_if(vector, "VECTOR").constant("SPAN", SPAN as u32)
}

fn attends(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| attend(tiles, dtype, vector))).concat()
}

fn elements(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::workgroup(tiles).element(dtype))
}
