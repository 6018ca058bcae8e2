//! What hypotheses go on with.

use super::{BeamSearch, NAME};
use crate::{
    Result,
    gpu::{ELEMENT, Tensor},
    kernels::{
        expect::{expect, expect_apart, expect_matrix, expect_setting},
        matmul::Matrix,
    },
};

/// What hypotheses go on with, beside the search's own memory.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Size of a word, E.
    pub word: usize,
    /// `[classes, E]`, the table of words.
    pub words: &'a Tensor,
    /// `[rows, E]`, receives the words of the tokens chosen.
    pub word_rows: Matrix<'a>,
    /// What each word contributes to the gates of the next step, `[classes, 3H]`, and where that of the tokens chosen goes,
    /// `[rows, 3H]`.
    pub gates: Option<(&'a Tensor, &'a Tensor)>,
    /// Size of a state, H.
    pub hidden: usize,
    /// States, each `[rows, H]`.
    pub states: &'a Tensor,
}

impl Feed<'_> {
    pub(super) fn check(&self, search: &BeamSearch) -> Result<()> {
        expect(NAME, "words", self.words, &[search.classes, self.word])?;
        expect_matrix(NAME, "word_rows", &self.word_rows, [1, search.rows(), self.word])?;
        if let Some((table, rows)) = self.gates {
            expect(NAME, "gates", table, &[search.classes, 3 * self.hidden])?;
            expect(NAME, "gate_rows", rows, &[search.rows(), 3 * self.hidden])?;
            expect_apart(NAME, &[("word_rows", self.word_rows.tensor), ("gate_rows", rows)])?;
        }
        Ok(())
    }

    pub(super) fn check_states(&self, search: &BeamSearch, offset: usize) -> Result<()> {
        let states = Matrix { tensor: self.states, offset, stride: self.hidden, batch_stride: 0 };
        expect_matrix(NAME, "states", &states, [1, search.rows(), self.hidden])
    }

    /// Checks that states at `from` may be read while the first ones are written.
    pub(super) fn check_choice(&self, search: &BeamSearch, from: usize) -> Result<()> {
        self.check_states(search, from)?;
        expect_setting(NAME, "from", from >= search.rows() * self.hidden, "behind the first states", from as f64)
    }

    pub(super) fn params(&self) -> [usize; 4] {
        let gates = if self.gates.is_some() { 3 * self.hidden } else { 0 };
        [self.word, self.word_rows.offset, self.word_rows.stride, gates]
    }

    /// The tables and where their rows go. A table that is not there has no elements to copy, and any other stands for it.
    pub(super) fn tensors(&self) -> [&Tensor; 4] {
        let (gates, gate_rows) = self.gates.unwrap_or((self.words, self.word_rows.tensor));
        [self.words, self.word_rows.tensor, gates, gate_rows]
    }

    pub(super) fn wide(&self) -> bool {
        self.word_rows.aligned() && self.word.is_multiple_of(4) && self.hidden.is_multiple_of(4)
    }

    /// Bytes that are read, and written, for each row.
    pub(super) fn bytes(&self) -> f64 {
        let [word, _, _, gates] = self.params();
        ELEMENT as f64 * (word + gates) as f64
    }

    /// Bytes of a row's state.
    pub(super) fn state_bytes(&self) -> f64 {
        ELEMENT as f64 * self.hidden as f64
    }
}
