//! Rows of a table, by token. The backward pass gives every row of the table the sum of its occurrences' gradients: it sorts
//! the occurrences by token and place first, so that no float is added atomically and the sums have one fixed order.

use super::{
    expect::{expect, expect_of, expect_scratch},
    forms,
    library::shader,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static EMBEDDING: Shader = shader!("embedding", by_width);
pub(super) static EMBEDDING_BACKWARD: Shader = shader!("embedding_backward", by_width);
pub(super) static EMBEDDING_RANK: Shader = shader!("embedding/rank", sorts);
pub(super) static EMBEDDING_SORT: Shader = shader!("embedding/sort", sorts);

/// The longest loop of the backward pass takes four occurrences at a time: [`super::rounds`].
const MOST_TOKENS: usize = 100_000;

/// The sort has three loops over its lanes' share of the vocabulary.
const LARGEST_VOCABULARY: usize = 500_000;

/// `y[n] = table[tokens[n]]`; a token past the table counts as its last row.
///
/// With `padding` that token's row receives no gradient, as with PyTorch's `padding_idx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Rows of the table, V.
    pub vocabulary: usize,
    /// Size of one row, E.
    pub size: usize,
    /// Number of tokens, N.
    pub tokens: usize,
    /// The token whose row gets no gradient.
    pub padding: Option<u32>,
}

impl Embedding {
    /// Operations and bytes of the forward pass, with y of `dtype`.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (rows, tokens) = ((self.tokens * self.size) as f64, self.tokens as f64);
        let (bytes, narrow) = (ELEMENT as f64, dtype.bytes() as f64);
        Cost { operations: 0.0, transcendental: 0.0, read: bytes * (rows + tokens), written: narrow * rows }
    }

    /// Operations and bytes of the backward pass, with d_y of `dtype`.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.sort_cost();
        cost += self.rank_cost();
        cost += self.sum_cost(dtype);
        cost
    }

    fn sort_cost(&self) -> Cost {
        let (vocabulary, tokens, bytes) = (self.vocabulary as f64, self.tokens as f64, ELEMENT as f64);
        Cost {
            operations: 3.0 * tokens + 2.0 * vocabulary,
            transcendental: 0.0,
            read: bytes * (2.0 * vocabulary + 4.0 * tokens),
            written: bytes * (2.0 * vocabulary + 3.0 * tokens),
        }
    }

    /// With tokens spread evenly over the vocabulary; a token that is a share s of all costs s^2 N^2 comparisons.
    fn rank_cost(&self) -> Cost {
        let (tokens, bytes) = (self.tokens as f64, ELEMENT as f64);
        let compared = tokens * (tokens / self.vocabulary as f64).max(1.0);
        Cost { operations: compared, transcendental: 0.0, read: bytes * 4.0 * tokens, written: bytes * tokens }
    }

    fn sum_cost(&self, dtype: Dtype) -> Cost {
        let bytes = ELEMENT as f64;
        let rows = (self.tokens * self.size) as f64;
        Cost {
            operations: rows,
            transcendental: 0.0,
            read: dtype.bytes() as f64 * rows + bytes * (self.tokens + self.vocabulary) as f64,
            written: bytes * (self.vocabulary * self.size) as f64,
        }
    }

    /// Where the unsorted and the sorted lists of places start in scratch, at multiples of 4.
    fn lists(&self) -> (usize, usize) {
        let places = self.vocabulary.next_multiple_of(4);
        (places, places + self.tokens.next_multiple_of(4))
    }

    /// Elements of the backward pass's scratch.
    pub fn scratch(&self) -> usize {
        self.lists().1 + self.tokens.next_multiple_of(4)
    }

    fn width(&self) -> usize {
        if self.size.is_multiple_of(4) { 4 } else { 1 }
    }

    /// Records y `[N, E]`, f32 or f16, from the table `[V, E]` and the tokens `[N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, table: &Tensor, tokens: &Tensor, y: &Tensor) -> Result<()> {
        expect("embedding", "table", table, &[self.vocabulary, self.size])?;
        expect("embedding", "tokens", tokens, &[self.tokens])?;
        expect_of(y.dtype(), "embedding", "y", y, &[self.tokens, self.size])?;
        let (tiles, width) = (*recorder.gpu().tiles(), self.width());
        recorder.launch(&Launch {
            kernel: &EMBEDDING,
            specialisation: wide(&tiles, y.dtype(), width == 4),
            params: &[self.vocabulary as u32, self.size as u32, self.tokens as u32],
            tensors: &[tokens, table, y],
            workgroups: grid((self.tokens * self.size / width).div_ceil(tiles.workgroup as usize)),
            cost: self.cost(y.dtype()),
        })
    }

    /// Records d_table `[V, E]`, every row of it, from the tokens `[N]` and d_y `[N, E]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, [`Error::Limit`] past 100,000 tokens or a vocabulary
    /// of 500,000, and what [`Recorder::dispatch`] reports.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tokens: &Tensor,
        d_y: &Tensor,
        scratch: &Tensor,
        d_table: &Tensor,
    ) -> Result<()> {
        expect("embedding", "tokens", tokens, &[self.tokens])?;
        expect_of(d_y.dtype(), "embedding", "d_y", d_y, &[self.tokens, self.size])?;
        expect("embedding", "d_table", d_table, &[self.vocabulary, self.size])?;
        expect_scratch("embedding", scratch, self.scratch())?;
        for (what, need, limit, have) in [
            ("tokens", self.tokens, "most tokens of one batch", MOST_TOKENS),
            ("vocabulary", self.vocabulary, "largest vocabulary", LARGEST_VOCABULARY),
        ] {
            if need > have {
                return Err(Error::Limit {
                    what: format!("the gradient of an embedding, {what}"),
                    need: need as u64,
                    limit,
                    have: have as u64,
                    remedy: "Use a smaller batch or vocabulary, or shorter sequences.".into(),
                });
            }
        }
        let tiles = *recorder.gpu().tiles();
        let (places, order) = self.lists();
        let (vocabulary, size, count) = (self.vocabulary as u32, self.size as u32, self.tokens as u32);
        recorder.launch_rounds(
            &Launch {
                kernel: &EMBEDDING_SORT,
                specialisation: forms::workgroup(&tiles),
                params: &[vocabulary, count, places as u32],
                tensors: &[tokens, scratch],
                workgroups: [1, 1, 1],
                cost: self.sort_cost(),
            },
            2 * self.tokens.div_ceil(tiles.workgroup as usize) + 3 * self.vocabulary.div_ceil(tiles.workgroup as usize),
        )?;
        recorder.launch(&Launch {
            kernel: &EMBEDDING_RANK,
            specialisation: forms::workgroup(&tiles),
            params: &[vocabulary, count, places as u32, order as u32],
            tensors: &[tokens, scratch],
            workgroups: [count.div_ceil(tiles.workgroup), 1, 1],
            cost: self.rank_cost(),
        })?;
        let width = self.width();
        recorder.launch_rounds(
            &Launch {
                kernel: &EMBEDDING_BACKWARD,
                specialisation: wide(&tiles, d_y.dtype(), width == 4),
                params: &[vocabulary, size, count, order as u32, self.padding.unwrap_or(u32::MAX)],
                tensors: &[scratch, d_y, d_table],
                workgroups: grid((self.vocabulary * self.size / width).div_ceil(tiles.workgroup as usize)),
                cost: self.sum_cost(d_y.dtype()),
            },
            self.tokens.div_ceil(4 * self.vocabulary),
        )
    }
}

fn wide(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::fours(tiles, dtype, vector)
}

fn by_width(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| wide(tiles, dtype, vector))).concat()
}

fn sorts(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::workgroup(tiles)]
}
