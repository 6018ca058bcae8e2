//! Batches: token ids of sources and targets, padded and side by side.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The ids of the tokens that loss and search know of: settings of their kernels, which a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specials {
    /// Fills what is shorter than its batch; no target, and never chosen.
    pub pad: u32,
    /// The token that begins a target; never chosen.
    pub bos: u32,
    /// The token that ends a text.
    pub eos: u32,
    /// The token for words that the vocabulary lacks.
    pub unk: u32,
}

impl Specials {
    /// The ids of this crate's tokenizers: 0 to 3.
    pub const FIRST: Self = Self { pad: 0, bos: 1, eos: 2, unk: 3 };

    /// The number of them.
    pub const COUNT: usize = 4;
}

impl Default for Specials {
    fn default() -> Self {
        Self::FIRST
    }
}

/// The most global positions of a source, for models whose attention has a window: G.
pub const MOST_GLOBALS: usize = 64;

/// Extents of a batch, `[B, S, T]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchShape {
    /// B: rows, filler included.
    pub rows: usize,
    /// S: steps of the source, its end token included.
    pub source: usize,
    /// T: steps of the target, its end token included.
    pub target: usize,
}

impl BatchShape {
    /// The shape of each rank's share of a batch, of `ranks` shares.
    pub fn share(self, ranks: usize) -> Self {
        Self { rows: self.rows.div_ceil(ranks.max(1)), ..self }
    }

    /// A shape of B rows, S source steps and T target steps.
    pub fn new(rows: usize, source: usize, target: usize) -> Self {
        Self { rows, source, target }
    }
}

impl fmt::Display for BatchShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}]", self.rows, self.source, self.target)
    }
}

/// Token ids of one batch, row-major, padded; the inputs of a model's graph are its columns, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// B rows, filler included; S and T with the `<eos>` of each side.
    pub shape: BatchShape,
    /// The ids of the special tokens.
    pub specials: Specials,
    /// The target that loss and scores leave out.
    pub padding: u32,
    /// `[B, S]` sources, each ending in `<eos>`.
    pub source: Vec<u32>,
    /// `[B]` source lengths with `<eos>`; 0 for filler.
    pub lengths: Vec<u32>,
    /// `[B, S]` the segment that each source token belongs to, from 0.
    pub segments: Vec<u32>,
    /// `[B, G]` the positions of each source that see everything and are seen by everything, where attention has a window: in ascending
    /// order, and behind them what is no position.
    pub globals: Vec<u32>,
    /// `[B, T]` decoder inputs: `<bos>` y1 … yn.
    pub target_in: Vec<u32>,
    /// `[B, T]` tokens that the decoder should predict: y1 … yn `<eos>`.
    pub target_out: Vec<u32>,
    /// `[B]` how many of each row of these are no padding; 0 for filler.
    pub target_lengths: Vec<u32>,
    /// `[B]` the example of each row; `None` for filler.
    pub indices: Vec<Option<usize>>,
    /// The number of tokens of `target_out` that are not padding.
    pub target_tokens: usize,
    /// `[B, T, S]` alignment weights that the attention should have, if the corpus is aligned; else empty. Rows add up to 1, or
    /// are 0.
    pub alignment: Vec<f32>,
    /// The number of target tokens with links in `alignment`.
    pub aligned_tokens: usize,
}

/// One column of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Column<'a> {
    /// Token ids or lengths.
    Tokens(&'a [u32]),
    /// Weights.
    Weights(&'a [f32]),
}

impl Batch {
    /// A batch of filler alone.
    pub fn filler(shape: BatchShape, specials: Specials) -> Self {
        let BatchShape { rows, source, target } = shape;
        Self {
            shape,
            specials,
            padding: specials.pad,
            source: vec![specials.pad; rows * source],
            lengths: vec![0; rows],
            segments: vec![0; rows * source],
            globals: vec![u32::MAX; rows * MOST_GLOBALS],
            target_in: vec![specials.pad; rows * target],
            target_out: vec![specials.pad; rows * target],
            target_lengths: vec![0; rows],
            indices: vec![None; rows],
            ..Self::default()
        }
    }

    /// The same where another target than the padding of texts is left out, as for targets that are no tokens.
    pub fn with_padding(mut self, padding: u32) -> Self {
        self.target_out.fill(padding);
        Self { padding, ..self }
    }

    /// Puts a source, which ends in `<eos>`, into a row of filler. Tokens past the row's end are left out. What stands behind an
    /// earlier `<eos>` is a second text, and in the second segment.
    pub fn put_source(&mut self, row: usize, source: &[u32]) {
        let first = source.iter().position(|token| *token == self.specials.eos).map_or(source.len(), |end| end + 1);
        let segments = (0..source.len()).map(|place| u32::from(place >= first));
        fill(&mut self.segments, self.shape.source, row, segments);
        fill(&mut self.source, self.shape.source, row, source.iter().copied());
        if let Some(length) = self.lengths.get_mut(row) {
            // Never the maximum: a batch's positions are within u32.
            *length = u32::try_from(source.len()).unwrap_or(u32::MAX);
        }
    }

    /// Makes positions of a row's source global.
    ///
    /// # Errors
    /// [`Error::Data`] for more than [`MOST_GLOBALS`].
    pub fn put_globals(&mut self, row: usize, positions: &[u32]) -> Result<()> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        if positions.len() > MOST_GLOBALS {
            let message = format!("has {} global positions; a text may have up to {MOST_GLOBALS}", positions.len());
            return Err(Error::data(format!("row {row} of a batch"), message));
        }
        positions.resize(MOST_GLOBALS, u32::MAX);
        fill(&mut self.globals, MOST_GLOBALS, row, positions.into_iter());
        Ok(())
    }

    /// Puts a target, without specials, into a row of filler. Tokens past the row's end are left out.
    pub fn put_target(&mut self, row: usize, target: &[u32]) {
        self.put(row, target, Some(self.specials.eos));
    }

    /// Puts a target, without specials, whose text goes on behind it: no `<eos>` is expected there. Tokens past the row's end are
    /// left out.
    pub fn put_cut_target(&mut self, row: usize, target: &[u32]) {
        self.put(row, target, None);
    }

    fn put(&mut self, row: usize, target: &[u32], end: Option<u32>) {
        let expected = || target.iter().copied().chain(end);
        let steps = target.len() + usize::from(end.is_some());
        fill(
            &mut self.target_in,
            self.shape.target,
            row,
            [self.specials.bos].into_iter().chain(expected()).take(steps),
        );
        fill(&mut self.target_out, self.shape.target, row, expected());
        if let Some(length) = self.target_lengths.get_mut(row) {
            *length = steps.min(self.shape.target) as u32;
        }
        self.target_tokens += expected().filter(|token| *token != self.padding).count();
    }

    /// The share of a rank, of `ranks` shares: rows of this batch, filled up to the same number in all of them ([`BatchShape::share`]).
    /// Rows are dealt out to and fro: rank 0 first in the first round, last in the second. Where the longest are the first all have
    /// about as many tokens. What depends on the number of a row knows it ([`crate::kernels::Step::ranks`]).
    pub fn share(&self, ranks: usize, rank: usize) -> Self {
        let shape = self.shape.share(ranks);
        let dealt = |round: usize| round * ranks + if round.is_multiple_of(2) { rank } else { ranks - 1 - rank };
        let rows: Vec<usize> = (0..shape.rows).map(dealt).filter(|row| *row < self.shape.rows).collect();
        self.rows(&rows, shape)
    }

    /// Some rows as a batch of `shape`, whose sources and targets are as long as these.
    fn rows(&self, rows: &[usize], shape: BatchShape) -> Self {
        let mut batch = Self::filler(shape, self.specials).with_padding(self.padding);
        let (source, target) = (shape.source, shape.target);
        for (to, from) in rows.iter().copied().enumerate() {
            for (width, here, there) in [
                (source, &mut batch.source, &self.source),
                (1, &mut batch.lengths, &self.lengths),
                (source, &mut batch.segments, &self.segments),
                (MOST_GLOBALS, &mut batch.globals, &self.globals),
                (target, &mut batch.target_in, &self.target_in),
                (target, &mut batch.target_out, &self.target_out),
                (1, &mut batch.target_lengths, &self.target_lengths),
            ] {
                let values = there.get(from * width..(from + 1) * width).unwrap_or_default();
                fill(here, width, to, values.iter().copied());
            }
            if let (Some(here), Some(there)) = (batch.indices.get_mut(to), self.indices.get(from)) {
                *here = *there;
            }
            let each = target * source;
            batch.alignment.extend(self.alignment.get(from * each..(from + 1) * each).unwrap_or_default());
        }
        if !self.alignment.is_empty() {
            batch.alignment.resize(shape.rows * target * source, 0.0);
        }
        batch.target_tokens = batch.target_out.iter().filter(|token| **token != batch.padding).count();
        let linked = |weights: &&[f32]| weights.iter().any(|weight| *weight > 0.0);
        batch.aligned_tokens = batch.alignment.chunks(source.max(1)).filter(linked).count();
        batch
    }

    /// The column that a graph calls `name`.
    pub fn column(&self, name: &str) -> Option<Column<'_>> {
        match name {
            "source" => Some(Column::Tokens(&self.source)),
            "lengths" => Some(Column::Tokens(&self.lengths)),
            "segments" => Some(Column::Tokens(&self.segments)),
            "globals" => Some(Column::Tokens(&self.globals)),
            "target_in" => Some(Column::Tokens(&self.target_in)),
            "target_out" => Some(Column::Tokens(&self.target_out)),
            "target_lengths" => Some(Column::Tokens(&self.target_lengths)),
            "alignment" => Some(Column::Weights(&self.alignment)),
            _ => None,
        }
    }
}

/// Writes `tokens` from the start of a row of `width`.
fn fill(column: &mut [u32], width: usize, row: usize, tokens: impl Iterator<Item = u32>) {
    let places = column.get_mut(row * width..(row + 1) * width).unwrap_or_default();
    places.iter_mut().zip(tokens).for_each(|(place, token)| *place = token);
}
