//! Decoder inputs that a search gathers for the next step, and their tables.

use super::super::Case;
use crate::{
    Result, Tensor,
    kernels::{
        beam_search::{BeamSearch, Feed},
        matmul::Matrix,
    },
};

pub(super) struct Fed {
    word: usize,
    pub hidden: usize,
    words: Vec<f32>,
    gates: Option<Vec<f32>>,
    first: Vec<f32>,
    words_gpu: Tensor,
    gates_gpu: Option<(Tensor, Tensor)>,
    /// `[R, 4 + E]`: words have rows of another length.
    word_rows: Tensor,
    pub state0: Tensor,
    states: Tensor,
}

impl Fed {
    pub fn new(case: &mut Case<'_>, search: &BeamSearch) -> Result<Self> {
        let (word, hidden) = (case.size(9), case.size(9));
        let (rows, classes) = (search.rows(), search.classes);
        let words = case.values(classes * word, 1.0);
        let first = case.values(search.sentences * hidden, 1.0);
        let gates = if case.below(2) == 0 { None } else { Some(case.values(classes * 3 * hidden, 1.0)) };
        let gates_gpu = match &gates {
            Some(gates) => Some((case.upload([classes, 3 * hidden], gates)?, case.poisoned([rows, 3 * hidden])?)),
            None => None,
        };
        Ok(Self {
            words_gpu: case.upload([classes, word], &words)?,
            state0: case.upload([search.sentences, hidden], &first)?,
            word_rows: case.poisoned([rows, 4 + word])?,
            states: case.poisoned([2, rows, hidden])?,
            word,
            hidden,
            words,
            gates,
            first,
            gates_gpu,
        })
    }

    pub fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.word,
            words: &self.words_gpu,
            word_rows: Matrix::rows(&self.word_rows).offset(4),
            gates: self.gates_gpu.as_ref().map(|(table, rows)| (table, rows)),
            states: Some((self.hidden, &self.states)),
        }
    }

    /// Fills the second states with new values, as the step of a model does.
    pub fn next_states(&self, case: &mut Case<'_>) -> Result<Vec<f32>> {
        let elements = self.states.elements() / 2;
        let next = case.values(elements, 1.0);
        let mut both: Vec<f32> = case.gpu.read(&self.states)?;
        both[elements..].copy_from_slice(&next);
        case.gpu.write(&self.states, &both)?;
        Ok(next)
    }

    /// Whether the words and gates of `tokens`, one for each row there is, are where they should be in `rows`.
    pub fn fed(&self, case: &Case<'_>, rows: &[usize], tokens: &[u32]) -> Result<bool> {
        let same = |found: &[f32], table: &[f32], size: usize, row: usize| {
            found == &table[tokens[row] as usize * size..][..size]
        };
        let found: Vec<f32> = case.gpu.read(&self.word_rows)?;
        let width = 4 + self.word;
        let words =
            rows.iter().all(|row| same(&found[row * width + 4..(row + 1) * width], &self.words, self.word, *row));
        let (Some(gates), Some((_, gate_rows))) = (&self.gates, &self.gates_gpu) else { return Ok(words) };
        let found: Vec<f32> = case.gpu.read(gate_rows)?;
        let size = 3 * self.hidden;
        Ok(words && rows.iter().all(|row| same(&found[row * size..(row + 1) * size], gates, size, *row)))
    }

    /// Whether the first states are those of the sentences.
    pub fn started(&self, case: &Case<'_>, sentences: &[u32]) -> Result<bool> {
        let both: Vec<f32> = case.gpu.read(&self.states)?;
        let rows: Vec<_> = (0..sentences.len()).collect();
        Ok(self.same_states(&both, &rows, sentences, &self.first))
    }

    /// Whether the first states of `rows` are those of their parents in `next`, and those are as they were.
    pub fn moved(&self, case: &Case<'_>, rows: &[usize], parents: &[u32], next: &[f32]) -> Result<bool> {
        let both: Vec<f32> = case.gpu.read(&self.states)?;
        Ok(both[next.len()..] == *next && self.same_states(&both, rows, parents, next))
    }

    fn same_states(&self, found: &[f32], rows: &[usize], from: &[u32], states: &[f32]) -> bool {
        let size = self.hidden;
        rows.iter().all(|row| found[row * size..(row + 1) * size] == states[from[*row] as usize * size..][..size])
    }
}
