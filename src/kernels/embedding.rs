//! Rows of a table, by token. The backward pass gives every row of the table the sum of its occurrences' gradients, which
//! the host has put in order by token and place: no float is added atomically, and the sums have one fixed order.

use super::{
    expect::{expect, expect_matrix, expect_setting},
    forms,
    library::shader,
    matrix::Matrix,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static EMBEDDING: Shader = shader!("embedding", by_width);
pub(super) static EMBEDDING_BACKWARD: Shader = shader!("embedding_backward", by_width);

/// The longest loop of the backward pass takes four occurrences at a time: [`super::rounds`].
const MOST_TOKENS: usize = 100_000;

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
        let bytes = ELEMENT as f64;
        let rows = (self.tokens * self.size) as f64;
        Cost {
            operations: rows,
            transcendental: 0.0,
            read: dtype.bytes() as f64 * rows + bytes * (self.tokens + self.vocabulary) as f64,
            written: bytes * (self.vocabulary * self.size) as f64,
        }
    }

    /// Where the places start in an [`Embedding::order`], at a multiple of 4.
    fn places(&self) -> usize {
        self.vocabulary.next_multiple_of(4)
    }

    /// Elements of an [`Embedding::order`].
    pub fn order_length(&self) -> usize {
        self.places().saturating_add(self.tokens.next_multiple_of(4))
    }

    /// The places of each token, for the backward pass: for each token of the vocabulary where its list ends, then the lists, one
    /// after the other, each in ascending order. A counting sort on the host, which knows the tokens: on a GPU a single workgroup
    /// would take as long as a large product.
    ///
    /// # Errors
    /// [`Error::Shape`] if `tokens` are not N.
    pub fn order(&self, tokens: &[u32]) -> Result<Vec<u32>> {
        let count = tokens.len();
        expect_setting("embedding", "tokens", count == self.tokens, &format!("{} of them", self.tokens), count as f64)?;
        let last = self.vocabulary.saturating_sub(1);
        let row = |token: &u32| usize::min(*token as usize, last);
        let mut order = vec![0; self.order_length()];
        let (ends, places) = order.split_at_mut(self.places());
        for token in tokens {
            if let Some(count) = ends.get_mut(row(token)) {
                *count += 1;
            }
        }
        let mut start = 0;
        for count in ends.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for (place, token) in (0..).zip(tokens) {
            let Some(next) = ends.get_mut(row(token)) else { continue };
            if let Some(listed) = places.get_mut(*next as usize) {
                *listed = place;
            }
            *next += 1;
        }
        Ok(order)
    }

    /// How many elements one load brings of rows that lie so.
    fn width(&self, rows: &Matrix<'_>) -> usize {
        if self.size.is_multiple_of(4) && rows.aligned() { 4 } else { 1 }
    }

    /// Records y `[N, E]`, f32 or f16, from the table `[V, E]` and the tokens `[N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, table: &Tensor, tokens: &Tensor, y: Matrix<'_>) -> Result<()> {
        expect("embedding", "table", table, &[self.vocabulary, self.size])?;
        expect("embedding", "tokens", tokens, &[self.tokens])?;
        expect_matrix("embedding", "y", &y, [1, self.tokens, self.size])?;
        let (tiles, width, dtype) = (*recorder.gpu().tiles(), self.width(&y), y.tensor.dtype());
        recorder.launch(&Launch {
            kernel: &EMBEDDING,
            specialisation: wide(&tiles, dtype, width == 4),
            params: &[self.vocabulary, self.size, self.tokens, y.offset, y.stride].map(|size| size as u32),
            tensors: &[tokens, table, y.tensor],
            workgroups: grid((self.tokens * self.size / width).div_ceil(tiles.workgroup as usize)),
            cost: self.cost(dtype),
        })
    }

    /// Records d_table `[V, E]`, every row of it, from the order of the tokens, u32 ([`Embedding::order`]), and d_y `[N, E]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, [`Error::Limit`] past 100,000 tokens, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        order: &Tensor,
        d_y: Matrix<'_>,
        d_table: &Tensor,
    ) -> Result<()> {
        expect("embedding", "order", order, &[self.order_length()])?;
        expect_matrix("embedding", "d_y", &d_y, [1, self.tokens, self.size])?;
        expect("embedding", "d_table", d_table, &[self.vocabulary, self.size])?;
        if self.tokens > MOST_TOKENS {
            return Err(Error::Limit {
                what: "the gradient of an embedding, tokens".into(),
                need: self.tokens as u64,
                limit: "most tokens of one batch",
                have: MOST_TOKENS as u64,
                remedy: "Use a smaller batch, or shorter sequences.".into(),
            });
        }
        let (tiles, width, dtype) = (*recorder.gpu().tiles(), self.width(&d_y), d_y.tensor.dtype());
        let sizes = [self.vocabulary, self.size, self.tokens, self.places()].map(|size| size as u32);
        let places = [d_y.offset, d_y.stride].map(|place| place as u32);
        recorder.launch_rounds(
            &Launch {
                kernel: &EMBEDDING_BACKWARD,
                specialisation: wide(&tiles, dtype, width == 4),
                params: &[sizes.as_slice(), &[self.padding.unwrap_or(u32::MAX)], &places].concat(),
                tensors: &[order, d_y.tensor, d_table],
                workgroups: grid((self.vocabulary * self.size / width).div_ceil(tiles.workgroup as usize)),
                cost: self.backward_cost(dtype),
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
