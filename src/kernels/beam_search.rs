//! Selection steps of a search, all sentences at once: beam search (Graves 2012, section 2.5, in the form of Sutskever et al.
//! 2014, section 3.2) with the length penalty of Wu et al. (2016, section 7), greedy search, which is a beam of 1 and one
//! dispatch, and sampling.

mod adjust;
mod attend;
mod feed;
mod rule;
mod texts;

pub(super) use adjust::BEAM_SEARCH_ADJUST;
pub use adjust::{Adjust, Adjusted, FREE, MOST_MEMBERS};
pub(super) use attend::BEAM_SEARCH_ATTEND;
pub use attend::{Attend, Attended};
pub use feed::Feed;
pub use rule::{Rule, Sampling, length_penalty};
pub(super) use texts::BEAM_SEARCH_TEXTS;
pub use texts::Texts;

use super::{
    expect::{expect, expect_dtype, expect_extents, expect_matrix, expect_scratch, expect_setting},
    forms,
    library::shader,
    matrix::Matrix,
    rounds::expect_rounds,
};
use crate::{
    Error, Result,
    batch::Specials,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Shape, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static BEAM_SEARCH: Shader = shader!("beam_search", candidates);
pub(super) static BEAM_SEARCH_COUNT: Shader = shader!("beam_search/count", single);
pub(super) static BEAM_SEARCH_FOLLOW: Shader = shader!("beam_search/follow", by_width);
pub(super) static BEAM_SEARCH_GREEDY: Shader = shader!("beam_search/greedy", choices);
pub(super) static BEAM_SEARCH_MERGE: Shader = shader!("beam_search/merge", merges);
pub(super) static BEAM_SEARCH_SAMPLE: Shader = shader!("beam_search/sample", choices);
pub(super) static BEAM_SEARCH_START: Shader = shader!("beam_search/start", by_width);

const NAME: &str = "beam_search";

/// Elements to which each part of a search's state is aligned, as in `shaders/shared/search.wgsl`.
const PART: usize = 64;

/// The widest beam, and the most samples.
pub const WIDEST: usize = 64;

/// The widest beam whose candidates are all compared with one another.
const FEW: usize = 16;

/// A search of `sentences` at once, with `beam` rows for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamSearch {
    /// Sentences.
    pub sentences: usize,
    /// Hypotheses, or samples, per sentence, 1 to 64.
    pub beam: usize,
    /// Classes, at least 3.
    pub classes: usize,
    /// The most steps that are kept; further ones change nothing.
    pub capacity: usize,
    /// The rule by which tokens are chosen.
    pub rule: Rule,
    /// Whether the logits are log-probabilities already, as [`Adjust`] leaves them.
    pub normalised: bool,
    /// Whether the source positions that rows attend to most are kept, by [`Attend`].
    pub positions: bool,
    /// The special tokens: the ones that begin a text, end it, and pad it after the end.
    pub specials: Specials,
}

impl Default for BeamSearch {
    fn default() -> Self {
        let rule = Rule::Best { length_penalty: 0.0, asked: 1 };
        let specials = Specials::default();
        Self { sentences: 1, beam: 1, classes: 3, capacity: 1, rule, normalised: false, positions: false, specials }
    }
}

/// The state of a search on the device: windows of one buffer. A row is a hypothesis, the best of each sentence first.
#[derive(Clone, Debug)]
pub struct BeamState {
    /// The whole buffer, u32.
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
    /// The coverage penalties of the rows, f32 `[sentences * beam]`.
    pub penalties: Tensor,
    /// The scores of each sentence's best texts that have ended, the best first, f32 `[sentences * beam]`. Rows that continue
    /// by themselves have none.
    pub ended_scores: Tensor,
    /// The step that ended each, u32 `[sentences * beam]`.
    pub ended_steps: Tensor,
    /// The row that it ended, u32 `[sentences * beam]`.
    pub ended_parents: Tensor,
    /// The token that it ended with, u32 `[sentences * beam]`.
    pub ended_tokens: Tensor,
    /// The source position that each row attended to most at each step, u32 `[capacity, sentences * beam]`; empty if none are
    /// kept.
    pub positions: Tensor,
    /// The random stream of each sentence, u32 `[sentences]`; for samples only, and the caller's to fill.
    pub streams: Option<Tensor>,
    /// What is bound in place of rows of a second table, and of states, for a model without them; nothing is written to it.
    pub absent: [Tensor; 2],
}

impl BeamState {
    /// Memory for a search; [`BeamSearch::record_start`] fills it.
    ///
    /// # Errors
    /// [`Error::Limit`] over the adapter's binding or buffer limit, [`Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, search: &BeamSearch) -> Result<Self> {
        let (rows, history) = ([search.rows()], [search.capacity, search.rows()]);
        let all = gpu.zeros("search", [search.state()], Dtype::U32)?;
        let absent = gpu.zeros("absent", [2 * PART], Dtype::F32)?;
        let half = |start: usize| absent.part(start as u64 * ELEMENT, [PART], Dtype::F32);
        let mut offset = 0;
        let mut part = |shape: Shape, dtype| {
            let start = offset as u64 * ELEMENT;
            offset += parts(shape.elements());
            all.part(start, shape, dtype)
        };
        Ok(Self {
            counter: part([1].into(), Dtype::U32)?,
            all_finished: part([1].into(), Dtype::U32)?,
            scores: part(rows.into(), Dtype::F32)?,
            finished: part(rows.into(), Dtype::U32)?,
            tokens: part(rows.into(), Dtype::U32)?,
            parents: part(rows.into(), Dtype::U32)?,
            penalties: part(rows.into(), Dtype::F32)?,
            ended_scores: part(rows.into(), Dtype::F32)?,
            ended_steps: part(rows.into(), Dtype::U32)?,
            ended_parents: part(rows.into(), Dtype::U32)?,
            ended_tokens: part(rows.into(), Dtype::U32)?,
            history_tokens: part(history.into(), Dtype::U32)?,
            history_parents: part(history.into(), Dtype::U32)?,
            positions: part(if search.positions { history } else { [0, search.rows()] }.into(), Dtype::U32)?,
            streams: match search.rule {
                Rule::Best { .. } => None,
                Rule::Sample(_) => Some(gpu.zeros("streams", [search.sentences], Dtype::U32)?),
            },
            absent: [half(0)?, half(PART)?],
            all,
        })
    }

    /// The words of `part`, one of the windows, among the words of the whole buffer.
    pub fn words<'a>(&self, all: &'a [u32], part: &Tensor) -> &'a [u32] {
        &all[(part.offset() / ELEMENT) as usize..][..part.elements()]
    }
}

/// Elements rounded up to whole parts.
fn parts(elements: usize) -> usize {
    product(&[elements.div_ceil(PART), PART])
}

fn words<const N: usize>(values: [usize; N]) -> [u32; N] {
    values.map(|value| value as u32)
}

/// One step of a [`BeamSearch`].
#[derive(Clone, Copy, Debug)]
pub struct SearchStep<'a> {
    /// `[sentences * beam, classes]`.
    pub logits: Matrix<'a>,
    /// [`BeamSearch::scratch`] elements where rows compete; else it is not looked at.
    pub scratch: &'a Tensor,
    /// Steps since the last count, before this one.
    pub number: usize,
    /// The element of `Feed::states` from which on the step has left its states, if rows compete.
    pub from: usize,
}

impl BeamSearch {
    /// Hypotheses of all sentences.
    pub fn rows(&self) -> usize {
        product(&[self.sentences, self.beam])
    }

    /// Elements of [`BeamState::all`].
    fn state(&self) -> usize {
        let histories = if self.positions { 3 } else { 2 };
        let history = product(&[histories, parts(product(&[self.capacity, self.rows()]))]);
        product(&[9, parts(self.rows())]).saturating_add(history).saturating_add(2 * PART)
    }

    /// Whether rows continue by themselves: none is ever chosen instead of another.
    pub fn apart(&self) -> bool {
        self.beam == 1 || matches!(self.rule, Rule::Sample(_))
    }

    /// Candidates of a row: with one that ends there are still enough that do not.
    fn choices(&self) -> usize {
        self.beam.saturating_add(1)
    }

    /// Elements of scratch: score and token of each row's candidates.
    pub fn scratch(&self) -> usize {
        product(&[2, self.rows(), self.choices()])
    }

    /// Operations and bytes of a step with no row finished, without those of the next step's inputs. Logits are read once for
    /// their sum and once for each choice, which caches serve.
    pub fn cost(&self) -> Cost {
        let mut cost = self.candidates_cost();
        if !self.apart() {
            cost += self.merge_cost();
        }
        cost
    }

    fn candidates_cost(&self) -> Cost {
        let (elements, bytes) = ((self.rows() * self.classes) as f64, ELEMENT as f64);
        Cost {
            operations: elements * (5.0 + 3.0 * self.choices() as f64),
            transcendental: 1.25 * elements,
            read: bytes * (elements + 2.0 * self.rows() as f64),
            written: bytes * self.scratch() as f64,
        }
    }

    fn merge_cost(&self) -> Cost {
        let (rows, choices, bytes) = (self.rows() as f64, self.choices() as f64, ELEMENT as f64);
        Cost {
            operations: 4.0 * rows * self.beam as f64 * choices * choices,
            transcendental: 0.0,
            read: bytes * self.scratch() as f64,
            written: bytes * 10.0 * rows,
        }
    }

    fn count_cost(&self) -> Cost {
        let rows = self.rows() as f64;
        Cost { operations: rows, transcendental: 0.0, read: rows * ELEMENT as f64, written: 8.0 }
    }

    fn check(&self, state: &BeamState) -> Result<()> {
        let (beam, classes) = (self.beam as f64, self.classes as f64);
        expect_extents(NAME, &[("rows", self.rows()), ("capacity", self.capacity), ("classes", self.classes)])?;
        expect_setting(NAME, "beam", (1..=WIDEST).contains(&self.beam), "a beam from 1 to 64", beam)?;
        let ends = self.classes >= 3 && (self.specials.eos as usize) < self.classes;
        expect_setting(NAME, "classes", ends, "at least 3 classes, <eos> among them", classes)?;
        let (valid, wanted, got) = self.rule.check(self.beam);
        expect_setting(NAME, "rule", valid, wanted, got)?;
        expect(NAME, "state", &state.all, &[self.state()])?;
        expect(NAME, "scores", &state.scores, &[self.rows()])?;
        expect(NAME, "history_tokens", &state.history_tokens, &[self.capacity, self.rows()])
    }

    /// Records the state before the first step: one empty hypothesis per sentence, or per row where they go their own ways, fed
    /// with `<bos>`, its state, if the model has any, that of the sentence in `state0` `[sentences, H]`, written to the first of the
    /// states. A sentence whose length, u32 `[sentences]`, is 0 has ended.
    ///
    /// # Errors
    /// [`Error::Shape`] for settings or tensors that do not fit the search; [`Error::Limit`] past the adapter's limits.
    pub fn record_start(
        &self,
        recorder: &mut Recorder,
        state: &BeamState,
        lengths: &Tensor,
        state0: Option<&Tensor>,
        feed: &Feed<'_>,
    ) -> Result<()> {
        self.check(state)?;
        feed.check(self)?;
        feed.check_states(self, 0)?;
        expect(NAME, "lengths", lengths, &[self.sentences])?;
        let [words_table, word_rows, gates, gate_rows] = feed.tensors(state);
        let whole = feed.states.is_some() == state0.is_some();
        expect_setting(NAME, "state0", whole, "a first state, if there are states", feed.hidden() as f64)?;
        if let Some(state0) = state0 {
            expect(NAME, "state0", state0, &[self.sentences, feed.hidden()])?;
        }
        // What is not there is not read.
        let state0 = state0.unwrap_or(words_table);
        let apart = if self.apart() { 1 } else { self.beam };
        let sizes = [self.rows(), self.capacity, self.classes, self.beam, apart];
        let params = [&sizes[..], &feed.params(), &[feed.hidden(), self.specials.bos as usize]].concat();
        let bytes = self.rows() as f64 * (feed.bytes() + feed.state_bytes());
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_START,
            specialisation: copying(recorder.gpu().tiles(), feed.wide()),
            params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
            tensors: &[lengths, &state.all, words_table, word_rows, gates, gate_rows, state0, feed.states(state)],
            workgroups: grid(self.rows()),
            cost: Cost { read: bytes, written: bytes, ..Cost::default() },
        })
    }

    /// Records one step. Where rows compete the states of the hypotheses are chosen from those at [`SearchStep::from`] and go to
    /// the first ones of `Feed::states`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements or a setting is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        step: &SearchStep<'_>,
        state: &BeamState,
        feed: &Feed<'_>,
    ) -> Result<()> {
        self.check(state)?;
        feed.check(self)?;
        expect_matrix(NAME, "logits", &step.logits, [1, self.rows(), self.classes])?;
        expect_dtype(Dtype::F32, NAME, "logits", step.logits.tensor)?;
        match self.rule {
            Rule::Sample(sampling) => self.record_sample(recorder, sampling, step, state, feed),
            Rule::Best { .. } if self.beam == 1 => self.record_greedy(recorder, step, state, feed),
            Rule::Best { length_penalty, asked } => {
                expect_scratch(NAME, step.scratch, self.scratch())?;
                feed.check_choice(self, step.from)?;
                self.record_candidates(recorder, step, state)?;
                self.record_merge(recorder, Ranking { asked, length_penalty }, step, state, feed)
            }
        }
    }

    /// What a step of rows that go their own ways begins its parameters with.
    fn row_params(&self, step: &SearchStep<'_>, feed: &Feed<'_>) -> Vec<u32> {
        let [word, word_offset, word_stride, gates] = feed.params();
        let Specials { pad, eos, .. } = self.specials;
        let sizes = [self.rows(), self.capacity, self.classes, step.number, word, word_offset, word_stride, gates];
        let logits = words([step.logits.offset, step.logits.stride]);
        [&words(sizes)[..], &[pad, self.never_chosen(), eos], &logits].concat()
    }

    /// The token that begins a text, which no step chooses; where it ends texts too, as in GPT-2 and BART, padding in its place.
    fn never_chosen(&self) -> u32 {
        let Specials { pad, bos, eos, .. } = self.specials;
        if bos == eos { pad } else { bos }
    }

    fn row_cost(&self, passes: f64, feed: &Feed<'_>) -> Cost {
        let Cost { operations, transcendental, read, .. } = self.candidates_cost();
        let fed = self.rows() as f64 * feed.bytes();
        Cost {
            operations: passes * operations,
            transcendental: passes * transcendental,
            read: read + fed,
            written: fed,
        }
    }

    fn record_greedy(
        &self,
        recorder: &mut Recorder,
        step: &SearchStep<'_>,
        state: &BeamState,
        feed: &Feed<'_>,
    ) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        self.check_rounds(recorder.gpu(), 1, 0)?;
        let [words_table, word_rows, gates, gate_rows] = feed.tensors(state);
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_GREEDY,
            specialisation: choice(&tiles, self.vector(step), self.normalised, feed.wide()),
            params: &self.row_params(step, feed),
            tensors: &[step.logits.tensor, &state.all, words_table, word_rows, gates, gate_rows],
            workgroups: grid(self.rows()),
            cost: self.row_cost(1.0, feed),
        })
    }

    fn record_sample(
        &self,
        recorder: &mut Recorder,
        sampling: Sampling,
        step: &SearchStep<'_>,
        state: &BeamState,
        feed: &Feed<'_>,
    ) -> Result<()> {
        let Some(streams) = &state.streams else {
            let wanted = "the state of a search that samples".into();
            return Err(Error::Shape { operation: NAME, argument: "state", wanted, got: "no streams".into() });
        };
        expect(NAME, "streams", streams, &[self.sentences])?;
        let tiles = *recorder.gpu().tiles();
        let [words_table, word_rows, gates, gate_rows] = feed.tensors(state);
        let own = [self.beam as u32, sampling.top_k as u32, sampling.top_p.to_bits()];
        let coldness = (1.0 / sampling.temperature).to_bits();
        let passes = 2 + if sampling.top_k > 0 { 16 } else { 0 } + if sampling.top_p < 1.0 { 17 } else { 0 };
        self.check_rounds(recorder.gpu(), passes + 1, 0)?;
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_SAMPLE,
            specialisation: choice(&tiles, self.vector(step), self.normalised, feed.wide()),
            params: &[&self.row_params(step, feed)[..], &own, &[coldness]].concat(),
            tensors: &[step.logits.tensor, &state.all, words_table, word_rows, gates, gate_rows, streams],
            workgroups: grid(self.rows()),
            cost: self.row_cost(passes as f64, feed),
        })
    }

    /// Checks that the driver goes through a row's logits so many times, and then through `more` rounds of other loops.
    fn check_rounds(&self, gpu: &Gpu, passes: usize, more: usize) -> Result<()> {
        let need = passes * self.classes.div_ceil(4 * gpu.tiles().row as usize) + more;
        let remedy = "Use a smaller vocabulary, beam or n-gram, one cut of samples in place of two, or a GPU.";
        expect_rounds(gpu, need, || format!("a search over {} tokens", self.classes), remedy)
    }

    fn vector(&self, step: &SearchStep<'_>) -> bool {
        self.classes.is_multiple_of(4) && step.logits.aligned()
    }

    /// The first elements of states of so many elements a row before and after the `step`-th step since the last look.
    pub fn places(&self, step: usize, state: usize) -> [usize; 2] {
        let after = product(&[self.rows(), state]);
        // A beam's states go back to the first place as they are chosen; a row that goes its own way goes on from where it is.
        if self.apart() && step % 2 == 1 { [after, 0] } else { [0, after] }
    }

    fn record_candidates(&self, recorder: &mut Recorder, step: &SearchStep<'_>, state: &BeamState) -> Result<()> {
        self.check_rounds(recorder.gpu(), self.choices() + 1, 0)?;
        let sizes = [self.rows(), self.capacity, self.classes, self.choices()];
        let logits = words([step.logits.offset, step.logits.stride]);
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH,
            specialisation: candidate(recorder.gpu().tiles(), self.vector(step), self.normalised),
            params: &[&words(sizes)[..], &[self.specials.pad, self.never_chosen()], &logits].concat(),
            tensors: &[step.logits.tensor, &state.all, step.scratch],
            workgroups: grid(self.rows()),
            cost: self.candidates_cost(),
        })
    }

    fn record_merge(
        &self,
        recorder: &mut Recorder,
        ranking: Ranking,
        step: &SearchStep<'_>,
        state: &BeamState,
        feed: &Feed<'_>,
    ) -> Result<()> {
        let (rows, capacity, beam) = (self.rows(), self.capacity, self.beam);
        let [words_table, word_rows, gates, gate_rows] = feed.tensors(state);
        let [word, word_offset, word_stride, gates_size] = feed.params();
        let mut cost = self.merge_cost();
        let bytes = rows as f64 * (feed.bytes() + feed.state_bytes());
        cost += Cost { read: bytes, written: bytes, ..Cost::default() };
        let sizes = [
            rows,
            capacity,
            self.classes,
            beam,
            step.number,
            word,
            word_offset,
            word_stride,
            gates_size,
            feed.hidden(),
            step.from,
            0,
            self.specials.pad as usize,
            self.specials.eos as usize,
            ranking.asked,
        ];
        let longest = 1.0 / length_penalty(ranking.length_penalty, capacity);
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_MERGE,
            specialisation: merge(recorder.gpu().tiles(), beam, feed.wide() && step.from.is_multiple_of(4)),
            params: &[&words(sizes)[..], &[ranking.length_penalty.to_bits(), longest.to_bits()]].concat(),
            tensors: &[step.scratch, &state.all, words_table, word_rows, gates, gate_rows, feed.states(state)],
            workgroups: [self.sentences as u32, 1, 1],
            cost,
        })
    }

    /// Records the gathering of the next step's inputs for one more member of an ensemble; `from` as
    /// [`SearchStep::from`].
    ///
    /// # Errors
    /// [`Error::Shape`] for settings or tensors that do not fit the search; [`Error::Limit`] past the adapter's limits.
    pub fn record_follow(
        &self,
        recorder: &mut Recorder,
        state: &BeamState,
        feed: &Feed<'_>,
        from: usize,
    ) -> Result<()> {
        self.check(state)?;
        feed.check(self)?;
        let hidden = if self.apart() { 0 } else { feed.hidden() };
        if !self.apart() {
            feed.check_choice(self, from)?;
        }
        let [words_table, word_rows, gates, gate_rows] = feed.tensors(state);
        let [word, word_offset, word_stride, gates_size] = feed.params();
        let sizes = [self.rows(), self.classes, word, word_offset, word_stride, gates_size, hidden, from, 0];
        expect(NAME, "tokens", &state.tokens, &[self.rows()])?;
        expect(NAME, "parents", &state.parents, &[self.rows()])?;
        let bytes = self.rows() as f64 * (feed.bytes() + feed.state_bytes());
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_FOLLOW,
            specialisation: copying(recorder.gpu().tiles(), feed.wide() && from.is_multiple_of(4)),
            params: &words(sizes),
            tensors: &[&state.tokens, &state.parents, words_table, word_rows, gates, gate_rows, feed.states(state)],
            workgroups: grid(self.rows()),
            cost: Cost { read: bytes, written: bytes, ..Cost::default() },
        })
    }

    /// Records the count of `steps` steps, and whether all hypotheses have ended by now.
    ///
    /// # Errors
    /// [`Error::Shape`] for settings or tensors that do not fit the search; [`Error::Limit`] past the adapter's limits.
    pub fn record_count(&self, recorder: &mut Recorder, state: &BeamState, steps: usize) -> Result<()> {
        self.check(state)?;
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_COUNT,
            specialisation: forms::row_reduction(recorder.gpu().tiles()),
            params: &words([self.rows(), self.capacity, steps]),
            tensors: &[&state.all],
            workgroups: [1, 1, 1],
            cost: self.count_cost(),
        })
    }
}

/// The comparison of texts that have ended.
#[derive(Clone, Copy, Debug)]
struct Ranking {
    asked: usize,
    length_penalty: f32,
}

fn choice(tiles: &Tiles, vector: bool, normalised: bool, wide: bool) -> Specialisation {
    candidate(tiles, vector, normalised).define_if(wide, "WIDE")
}

fn candidate(tiles: &Tiles, vector: bool, normalised: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(vector, "VECTOR").define_if(normalised, "NORMALISED")
}

fn copying(tiles: &Tiles, wide: bool) -> Specialisation {
    forms::row(tiles).define_if(wide, "WIDE")
}

fn merge(tiles: &Tiles, beam: usize, wide: bool) -> Specialisation {
    let broad = beam > FEW;
    let form = if broad { forms::row_reduction(tiles).define("BROAD") } else { forms::row(tiles) };
    form.define_if(wide, "WIDE")
}

fn merges(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|wide| [FEW, WIDEST].map(|beam| merge(tiles, beam, wide))).concat()
}

fn candidates(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| forms::either(|normalised| candidate(tiles, vector, normalised))).concat()
}

fn choices(tiles: &Tiles) -> Vec<Specialisation> {
    let wide = |vector, normalised| forms::either(|wide| choice(tiles, vector, normalised, wide));
    forms::either(|vector| forms::either(|normalised| wide(vector, normalised)).concat()).concat()
}

fn adjustments(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| candidate(tiles, vector, false))
}

fn by_width(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|wide| copying(tiles, wide))
}

fn single(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}
