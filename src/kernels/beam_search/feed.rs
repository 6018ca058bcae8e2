//! Inputs of the next step, gathered for the tokens and parents that a search has chosen.

use super::{BeamSearch, BeamState, NAME};
use crate::{
    Result,
    gpu::{ELEMENT, Tensor},
    kernels::{
        expect::{expect, expect_apart, expect_extents, expect_matrix, expect_setting},
        matmul::Matrix,
    },
};

/// Tables and states of a model, from which the search copies what each row's next step reads.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Size of a word, E.
    pub word: usize,
    /// `[classes, E]`, the table of words.
    pub words: &'a Tensor,
    /// `[rows, E]`, receives the words of the tokens chosen.
    pub word_rows: Matrix<'a>,
    /// A second table, such as the products of each word with a GRU's gates, `[classes, G]`, and the tensor that receives its
    /// rows for the chosen tokens, `[rows, G]`.
    pub gates: Option<(&'a Tensor, &'a Tensor)>,
    /// Size of a state, H, and the states, each `[rows, H]`, of a model that has any.
    pub states: Option<(usize, &'a Tensor)>,
}

impl Feed<'_> {
    pub(super) fn check(&self, search: &BeamSearch) -> Result<()> {
        expect_extents(NAME, &[("word", self.word)])?;
        expect(NAME, "words", self.words, &[search.classes, self.word])?;
        expect_matrix(NAME, "word_rows", &self.word_rows, [1, search.rows(), self.word])?;
        if let Some((table, rows)) = self.gates {
            expect(NAME, "gates", table, &[search.classes, table.shape().last()])?;
            expect(NAME, "gate_rows", rows, &[search.rows(), table.shape().last()])?;
            expect_apart(NAME, &[("word_rows", self.word_rows.tensor), ("gate_rows", rows)])?;
        }
        Ok(())
    }

    pub(super) fn check_states(&self, search: &BeamSearch, offset: usize) -> Result<()> {
        let Some((hidden, tensor)) = self.states else { return Ok(()) };
        expect_extents(NAME, &[("hidden", hidden)])?;
        let states = Matrix { tensor, offset, stride: hidden, batch_stride: 0 };
        expect_matrix(NAME, "states", &states, [1, search.rows(), hidden])
    }

    /// Checks that states at `from` may be read while the first ones are written.
    pub(super) fn check_choice(&self, search: &BeamSearch, from: usize) -> Result<()> {
        self.check_states(search, from)?;
        expect_setting(NAME, "from", from >= search.rows() * self.hidden(), "behind the first states", from as f64)
    }

    pub(super) fn params(&self) -> [usize; 4] {
        [self.word, self.word_rows.offset, self.word_rows.stride, self.gates_size()]
    }

    /// H, if there are states.
    pub(super) fn hidden(&self) -> usize {
        self.states.map_or(0, |(hidden, _)| hidden)
    }

    /// The states, or a tensor that no state is written to.
    pub(super) fn states<'a>(&'a self, state: &'a BeamState) -> &'a Tensor {
        let [_, absent] = &state.absent;
        self.states.map_or(absent, |(_, states)| states)
    }

    /// G, if there is such a table.
    fn gates_size(&self) -> usize {
        self.gates.map_or(0, |(table, _)| table.shape().last())
    }

    /// The tables and the tensors that receive their rows. A missing table has no elements to copy: any other is bound for it. What
    /// would receive its rows is bound for writing, and so is memory of its own.
    pub(super) fn tensors<'a>(&'a self, state: &'a BeamState) -> [&'a Tensor; 4] {
        let [absent, _] = &state.absent;
        let (gates, gate_rows) = self.gates.unwrap_or((self.words, absent));
        [self.words, self.word_rows.tensor, gates, gate_rows]
    }

    pub(super) fn wide(&self) -> bool {
        let sizes = [self.word, self.hidden(), self.gates_size()];
        self.word_rows.aligned() && sizes.iter().all(|size| size.is_multiple_of(4))
    }

    /// Bytes that are read, and written, for each row.
    pub(super) fn bytes(&self) -> f64 {
        let [word, _, _, gates] = self.params();
        ELEMENT as f64 * (word + gates) as f64
    }

    /// Bytes of a row's state.
    pub(super) fn state_bytes(&self) -> f64 {
        ELEMENT as f64 * self.hidden() as f64
    }
}
