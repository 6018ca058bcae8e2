//! One selection step of beam search (Graves 2012, section 2.5, in the form of Sutskever et al. 2014, section 3.2), all
//! sentences at once; greedy search is a beam of 1.

use super::{
    expect::{expect, expect_scratch, expect_setting},
    forms,
    table::{BEAM_SEARCH, BEAM_SEARCH_COUNT, BEAM_SEARCH_MERGE},
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Specialisation, Tensor, Tiles, grid},
};

/// `<bos>`, from which every hypothesis starts.
const BEGIN: u32 = 1;

/// The score of a hypothesis that is absent, as all but the first are before the first step.
const ABSENT: f32 = -1e30;

/// The widest beam.
pub const WIDEST: usize = 16;

/// Keeps, of every sentence, the best `beam` continuations of its `beam` hypotheses; of equal ones the smaller (parent,
/// token). Tokens 0 and 1 are never chosen, 2 ends a hypothesis, and an ended one goes on with 0 and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeamSearch {
    /// Sentences.
    pub sentences: usize,
    /// Hypotheses per sentence, 1 to 16.
    pub beam: usize,
    /// Classes, at least 3.
    pub classes: usize,
    /// The most steps that are kept; further ones change nothing.
    pub capacity: usize,
}

/// What a search keeps on the device. A row is a hypothesis, the best of each sentence first.
#[derive(Clone, Debug)]
pub struct BeamState {
    /// Logarithms of the hypotheses' probabilities, f32 `[sentences * beam]`.
    pub scores: Tensor,
    /// 1 where a hypothesis has ended, u32 `[sentences * beam]`.
    pub finished: Tensor,
    /// The number of steps made, u32 `[1]`.
    pub counter: Tensor,
    /// The token that each step gave each row, u32 `[capacity, sentences * beam]`.
    pub history_tokens: Tensor,
    /// The row that each step's row continues, counted over all sentences, u32 `[capacity, sentences * beam]`.
    pub history_parents: Tensor,
    /// The next step's inputs, u32 `[sentences * beam]`.
    pub tokens: Tensor,
    /// The rows that the rows continue, counted over all sentences, u32 `[sentences * beam]`: to gather states with.
    pub parents: Tensor,
    /// 1 if every hypothesis has ended, u32 `[1]`.
    pub all_finished: Tensor,
}

impl BeamState {
    /// The state before the first step.
    ///
    /// # Errors
    /// As [`Gpu::zeros`].
    pub fn new(gpu: &Gpu, search: &BeamSearch) -> Result<Self> {
        let (rows, history) = (search.rows(), [search.capacity, search.rows()]);
        let state = Self {
            scores: gpu.zeros("scores", [rows], Dtype::F32)?,
            finished: gpu.zeros("finished", [rows], Dtype::U32)?,
            counter: gpu.zeros("counter", [1], Dtype::U32)?,
            history_tokens: gpu.zeros("history of tokens", history, Dtype::U32)?,
            history_parents: gpu.zeros("history of parents", history, Dtype::U32)?,
            tokens: gpu.zeros("tokens", [rows], Dtype::U32)?,
            parents: gpu.zeros("parents", [rows], Dtype::U32)?,
            all_finished: gpu.zeros("all finished", [1], Dtype::U32)?,
        };
        state.reset(gpu, search)?;
        Ok(state)
    }

    /// Back to the state before the first step: one empty hypothesis per sentence.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the state is another search's.
    pub fn reset(&self, gpu: &Gpu, search: &BeamSearch) -> Result<()> {
        let rows = search.rows();
        let first = |row: usize| if row.is_multiple_of(search.beam.max(1)) { 0.0 } else { ABSENT };
        gpu.write(&self.scores, &(0..rows).map(first).collect::<Vec<f32>>())?;
        gpu.write(&self.tokens, &vec![BEGIN; rows])?;
        gpu.write(&self.parents, &(0..rows as u32).collect::<Vec<_>>())?;
        gpu.write(&self.finished, &vec![0_u32; rows])?;
        gpu.write(&self.counter, &[0_u32])?;
        gpu.write(&self.all_finished, &[0_u32])
    }
}

impl BeamSearch {
    /// Hypotheses of all sentences.
    pub fn rows(&self) -> usize {
        self.sentences * self.beam
    }

    /// Elements of scratch: score and token of each row's candidates.
    pub fn scratch(&self) -> usize {
        2 * self.rows() * self.beam
    }

    /// Operations and bytes of a step with no row finished. Logits are read once for their sum and once for each choice,
    /// which caches serve.
    pub fn cost(&self) -> Cost {
        let mut cost = self.candidates_cost();
        cost += self.merge_cost();
        cost += self.count_cost();
        cost
    }

    fn candidates_cost(&self) -> Cost {
        let (elements, bytes) = ((self.rows() * self.classes) as f64, ELEMENT as f64);
        Cost {
            operations: elements * (5.0 + 3.0 * self.beam as f64),
            transcendental: 1.25 * elements,
            read: bytes * (elements + 2.0 * self.rows() as f64),
            written: bytes * self.scratch() as f64,
        }
    }

    fn merge_cost(&self) -> Cost {
        let (rows, beam, bytes) = (self.rows() as f64, self.beam as f64, ELEMENT as f64);
        Cost {
            operations: 3.0 * rows * beam * beam * beam,
            transcendental: 0.0,
            read: bytes * self.scratch() as f64,
            written: bytes * 6.0 * rows,
        }
    }

    fn count_cost(&self) -> Cost {
        let rows = self.rows() as f64;
        Cost { operations: rows, transcendental: 0.0, read: rows * ELEMENT as f64, written: 8.0 }
    }

    fn check(&self, logits: &Tensor, state: &BeamState, scratch: &Tensor) -> Result<()> {
        let name = "beam_search";
        let (beam, classes) = (self.beam as f64, self.classes as f64);
        expect_setting(name, "beam", (1..=WIDEST).contains(&self.beam), "a beam from 1 to 16", beam)?;
        expect_setting(name, "classes", self.classes >= 3, "at least 3 classes, <eos> among them", classes)?;
        expect(name, "logits", logits, &[self.rows(), self.classes])?;
        for (argument, tensor) in [
            ("scores", &state.scores),
            ("finished", &state.finished),
            ("tokens", &state.tokens),
            ("parents", &state.parents),
        ] {
            expect(name, argument, tensor, &[self.rows()])?;
        }
        for (argument, tensor) in
            [("history_tokens", &state.history_tokens), ("history_parents", &state.history_parents)]
        {
            expect(name, argument, tensor, &[self.capacity, self.rows()])?;
        }
        expect(name, "counter", &state.counter, &[1])?;
        expect(name, "all_finished", &state.all_finished, &[1])?;
        expect_scratch(name, scratch, self.scratch())
    }

    /// Records one step from logits `[sentences * beam, classes]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or a setting is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, logits: &Tensor, state: &BeamState, scratch: &Tensor) -> Result<()> {
        self.check(logits, state, scratch)?;
        let (rows, beam, capacity) = (self.rows() as u32, self.beam as u32, self.capacity as u32);
        let tiles = *recorder.gpu().tiles();
        let choices = beam.min(self.classes as u32 - 2);
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH,
            specialisation: candidate(&tiles, self.classes.is_multiple_of(4)),
            params: &[rows, self.classes as u32, beam, choices],
            tensors: &[logits, &state.scores, &state.finished, scratch],
            workgroups: grid(self.rows()),
            cost: self.candidates_cost(),
        })?;
        let BeamState { scores, finished, counter, history_tokens, history_parents, tokens, parents, .. } = state;
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH_MERGE,
            specialisation: forms::row(&tiles),
            params: &[self.sentences as u32, beam, capacity],
            tensors: &[scratch, counter, scores, finished, tokens, parents, history_tokens, history_parents],
            workgroups: [self.sentences as u32, 1, 1],
            cost: self.merge_cost(),
        })?;
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH_COUNT,
            specialisation: forms::row_reduction(&tiles),
            params: &[rows, capacity],
            tensors: &[finished, counter, &state.all_finished],
            workgroups: [1, 1, 1],
            cost: self.count_cost(),
        })
    }
}

fn candidate(tiles: &Tiles, vector: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(vector, "VECTOR")
}

pub(super) fn candidates(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| candidate(tiles, vector))
}

pub(super) fn merges(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row(tiles)]
}

pub(super) fn counts(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}
