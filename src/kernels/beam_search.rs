//! One selection step of beam search (Graves 2012, section 2.5, in the form of Sutskever et al. 2014, section 3.2), all
//! sentences at once. Greedy search is a beam of 1, and one dispatch.

use super::{
    copy::expect_matrix,
    expect::{expect, expect_scratch, expect_setting},
    forms,
    matmul::Matrix,
    table::{BEAM_SEARCH, BEAM_SEARCH_COUNT, BEAM_SEARCH_GREEDY, BEAM_SEARCH_MERGE, BEAM_SEARCH_START},
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shape, Specialisation, Tensor, Tiles, grid},
};

const NAME: &str = "beam_search";

/// Elements to which each part of a search's state is aligned, as in `shaders/shared/search.wgsl`.
const PART: usize = 64;

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

/// What a search keeps on the device: windows of one buffer. A row is a hypothesis, the best of each sentence first.
#[derive(Clone, Debug)]
pub struct BeamState {
    /// All of it, u32.
    pub all: Tensor,
    /// The number of steps counted, u32 `[1]`.
    pub counter: Tensor,
    /// 1 if every hypothesis had ended at the last count, u32 `[1]`.
    pub all_finished: Tensor,
    /// Logarithms of the hypotheses' probabilities, f32 `[sentences * beam]`.
    pub scores: Tensor,
    /// 1 where a hypothesis has ended, u32 `[sentences * beam]`.
    pub finished: Tensor,
    /// The tokens chosen last, u32 `[sentences * beam]`.
    pub tokens: Tensor,
    /// The rows that the rows continue, counted over all sentences, u32 `[sentences * beam]`.
    pub parents: Tensor,
    /// The token that each step gave each row, u32 `[capacity, sentences * beam]`.
    pub history_tokens: Tensor,
    /// The row that each step's row continues, counted over all sentences, u32 `[capacity, sentences * beam]`.
    pub history_parents: Tensor,
}

impl BeamState {
    /// Memory for a search; [`BeamSearch::record_start`] fills it.
    ///
    /// # Errors
    /// As [`Gpu::zeros`].
    pub fn new(gpu: &Gpu, search: &BeamSearch) -> Result<Self> {
        let (rows, history) = ([search.rows()], [search.capacity, search.rows()]);
        let all = gpu.zeros("search", [search.state()], Dtype::U32)?;
        let mut offset = 0;
        let mut part = |shape: Shape, dtype| {
            let start = offset as u64 * ELEMENT;
            offset += shape.elements().next_multiple_of(PART);
            Tensor::new(all.buffer().clone(), start, shape, dtype)
        };
        Ok(Self {
            counter: part([1].into(), Dtype::U32),
            all_finished: part([1].into(), Dtype::U32),
            scores: part(rows.into(), Dtype::F32),
            finished: part(rows.into(), Dtype::U32),
            tokens: part(rows.into(), Dtype::U32),
            parents: part(rows.into(), Dtype::U32),
            history_tokens: part(history.into(), Dtype::U32),
            history_parents: part(history.into(), Dtype::U32),
            all,
        })
    }

    /// The words of `part`, one of the windows, among the words of all of it.
    pub fn words<'a>(&self, all: &'a [u32], part: &Tensor) -> &'a [u32] {
        &all[(part.offset() / ELEMENT) as usize..][..part.elements()]
    }
}

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
    fn check(&self, search: &BeamSearch) -> Result<()> {
        expect(NAME, "words", self.words, &[search.classes, self.word])?;
        expect_matrix(NAME, "word_rows", &self.word_rows, [1, search.rows(), self.word])?;
        if let Some((table, rows)) = self.gates {
            expect(NAME, "gates", table, &[search.classes, 3 * self.hidden])?;
            expect(NAME, "gate_rows", rows, &[search.rows(), 3 * self.hidden])?;
        }
        Ok(())
    }

    fn check_states(&self, search: &BeamSearch, offset: usize) -> Result<()> {
        let states = Matrix { tensor: self.states, offset, stride: self.hidden, batch_stride: 0 };
        expect_matrix(NAME, "states", &states, [1, search.rows(), self.hidden])
    }

    fn params(&self) -> [usize; 4] {
        let gates = if self.gates.is_some() { 3 * self.hidden } else { 0 };
        [self.word, self.word_rows.offset, self.word_rows.stride, gates]
    }

    /// The tables and where their rows go. A table that is not there has no elements to copy, and any other stands for it.
    fn tensors(&self) -> [&Tensor; 4] {
        let (gates, gate_rows) = self.gates.unwrap_or((self.words, self.word_rows.tensor));
        [self.words, self.word_rows.tensor, gates, gate_rows]
    }

    fn wide(&self) -> bool {
        self.word_rows.aligned() && self.word.is_multiple_of(4) && self.hidden.is_multiple_of(4)
    }

    /// Bytes that are read, and written, for each row.
    fn bytes(&self) -> f64 {
        let [word, _, _, gates] = self.params();
        ELEMENT as f64 * (word + gates) as f64
    }
}

fn words<const N: usize>(values: [usize; N]) -> [u32; N] {
    values.map(|value| value as u32)
}

impl BeamSearch {
    /// Hypotheses of all sentences.
    pub fn rows(&self) -> usize {
        self.sentences * self.beam
    }

    /// Elements of [`BeamState::all`].
    fn state(&self) -> usize {
        let part = |elements: usize| elements.next_multiple_of(PART);
        2 * PART + 4 * part(self.rows()) + 2 * part(self.capacity * self.rows())
    }

    /// Elements of scratch: score and token of each row's candidates.
    pub fn scratch(&self) -> usize {
        2 * self.rows() * self.beam
    }

    /// Operations and bytes of a step with no row finished, less what is fed to the next. Logits are read once for their sum
    /// and once for each choice, which caches serve.
    pub fn cost(&self) -> Cost {
        let mut cost = self.candidates_cost();
        if self.beam > 1 {
            cost += self.merge_cost();
        }
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

    fn check(&self, state: &BeamState) -> Result<()> {
        let (beam, classes) = (self.beam as f64, self.classes as f64);
        expect_setting(NAME, "beam", (1..=WIDEST).contains(&self.beam), "a beam from 1 to 16", beam)?;
        expect_setting(NAME, "classes", self.classes >= 3, "at least 3 classes, <eos> among them", classes)?;
        expect(NAME, "state", &state.all, &[self.state()])?;
        expect(NAME, "scores", &state.scores, &[self.rows()])?;
        expect(NAME, "history_tokens", &state.history_tokens, &[self.capacity, self.rows()])
    }

    /// Records the state before the first step: one empty hypothesis per sentence, fed with `<bos>`, its state that of the
    /// sentence in `state0` `[sentences, H]`, written to the first of the states. A sentence whose length, u32 `[sentences]`,
    /// is 0 has ended.
    ///
    /// # Errors
    /// As [`BeamSearch::record`].
    pub fn record_start(
        &self,
        recorder: &mut Recorder,
        state: &BeamState,
        lengths: &Tensor,
        state0: &Tensor,
        feed: &Feed<'_>,
    ) -> Result<()> {
        self.check(state)?;
        feed.check(self)?;
        feed.check_states(self, 0)?;
        expect(NAME, "lengths", lengths, &[self.sentences])?;
        expect(NAME, "state0", state0, &[self.sentences, feed.hidden])?;
        let [words_table, word_rows, gates, gate_rows] = feed.tensors();
        let params = [&[self.rows(), self.capacity, self.beam][..], &feed.params(), &[feed.hidden]].concat();
        let bytes = self.rows() as f64 * (feed.bytes() + (ELEMENT as usize * feed.hidden) as f64);
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH_START,
            specialisation: copying(recorder.gpu().tiles(), feed.wide()),
            params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
            tensors: &[lengths, &state.all, words_table, word_rows, gates, gate_rows, state0, feed.states],
            workgroups: grid(self.rows()),
            cost: Cost { read: bytes, written: bytes, ..Cost::default() },
        })
    }

    /// Records one step from logits `[sentences * beam, classes]`: the `step`-th since the last count. With a beam over 1 the
    /// states of the hypotheses are chosen from those at `from` of [`Feed::states`] and go to its first ones.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or a setting is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    #[expect(clippy::too_many_arguments, reason = "input, memory, scratch, outputs and where the step stands")]
    pub fn record(
        &self,
        recorder: &mut Recorder,
        logits: &Tensor,
        state: &BeamState,
        scratch: &Tensor,
        step: usize,
        feed: &Feed<'_>,
        from: usize,
    ) -> Result<()> {
        self.check(state)?;
        feed.check(self)?;
        expect(NAME, "logits", logits, &[self.rows(), self.classes])?;
        expect_scratch(NAME, scratch, self.scratch())?;
        let (rows, beam, capacity, classes) = (self.rows(), self.beam, self.capacity, self.classes);
        let tiles = *recorder.gpu().tiles();
        let vector = classes.is_multiple_of(4);
        let [words_table, word_rows, gates, gate_rows] = feed.tensors();
        let [word, word_offset, word_stride, gates_size] = feed.params();
        let fed = rows as f64 * feed.bytes();
        if beam == 1 {
            let Cost { operations, transcendental, read, .. } = self.candidates_cost();
            return recorder.dispatch(&Launch {
                kernel: &BEAM_SEARCH_GREEDY,
                specialisation: choice(&tiles, vector, feed.wide()),
                params: &words([rows, capacity, classes, step, word, word_offset, word_stride, gates_size]),
                tensors: &[logits, &state.all, words_table, word_rows, gates, gate_rows],
                workgroups: grid(rows),
                cost: Cost { operations, transcendental, read: read + fed, written: fed },
            });
        }
        feed.check_states(self, from)?;
        expect_setting(NAME, "from", from >= rows * feed.hidden, "behind the first states", from as f64)?;
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH,
            specialisation: candidate(&tiles, vector),
            params: &words([rows, capacity, classes, beam, beam.min(classes - 2)]),
            tensors: &[logits, &state.all, scratch],
            workgroups: grid(rows),
            cost: self.candidates_cost(),
        })?;
        let mut cost = self.merge_cost();
        let bytes = fed + (rows * feed.hidden) as f64 * ELEMENT as f64;
        cost += Cost { read: bytes, written: bytes, ..Cost::default() };
        let sizes = [rows, capacity, beam, step, word, word_offset, word_stride, gates_size, feed.hidden, from, 0];
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH_MERGE,
            specialisation: copying(&tiles, feed.wide() && from.is_multiple_of(4)),
            params: &words(sizes),
            tensors: &[scratch, &state.all, words_table, word_rows, gates, gate_rows, feed.states],
            workgroups: [self.sentences as u32, 1, 1],
            cost,
        })
    }

    /// Records the count of `steps` steps, and whether all hypotheses have ended by now.
    ///
    /// # Errors
    /// As [`BeamSearch::record`].
    pub fn record_count(&self, recorder: &mut Recorder, state: &BeamState, steps: usize) -> Result<()> {
        self.check(state)?;
        recorder.dispatch(&Launch {
            kernel: &BEAM_SEARCH_COUNT,
            specialisation: forms::row_reduction(recorder.gpu().tiles()),
            params: &words([self.rows(), self.capacity, steps]),
            tensors: &[&state.all],
            workgroups: [1, 1, 1],
            cost: self.count_cost(),
        })
    }
}

fn choice(tiles: &Tiles, vector: bool, wide: bool) -> Specialisation {
    candidate(tiles, vector).define_if(wide, "WIDE")
}

fn candidate(tiles: &Tiles, vector: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(vector, "VECTOR")
}

fn copying(tiles: &Tiles, wide: bool) -> Specialisation {
    forms::row(tiles).define_if(wide, "WIDE")
}

pub(super) fn candidates(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| candidate(tiles, vector))
}

pub(super) fn choices(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| forms::either(|wide| choice(tiles, vector, wide))).concat()
}

pub(super) fn by_width(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|wide| copying(tiles, wide))
}

pub(super) fn counts(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}
