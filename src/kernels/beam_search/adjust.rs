//! Adjusted log-probabilities for a search: ensembles, prefixes, minimum length and n-grams without repetition.

use super::{BeamSearch, BeamState, NAME, adjustments, candidate, words};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Tensor, grid},
    kernels::{
        expect::{expect, expect_setting},
        library::shader,
    },
};

pub(in crate::kernels) static BEAM_SEARCH_ADJUST: Shader = shader!("beam_search/adjust", adjustments);

/// The most models of an ensemble.
pub const MOST_MEMBERS: usize = 16;

/// The entry of [`Adjusted::prefixes`] after the end of a prefix.
pub const FREE: u32 = u32::MAX;

/// The logarithm of the mean of the members' probabilities, and -1e30 for what a row may not go on with: all but the token of
/// its prefix where there is one; else `<eos>` while the text is shorter than `shortest`, the `forbidden` token, and one that
/// would end an n-gram which the text has already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjust {
    /// The search that chooses; [`BeamSearch::normalised`].
    pub search: BeamSearch,
    /// Models, 1 to 16.
    pub members: usize,
    /// The fewest tokens before `<eos>`.
    pub shortest: usize,
    /// The length of n-grams that are not repeated; 0 blocks none.
    pub ngram: usize,
    /// A token that no text takes.
    pub forbidden: Option<u32>,
}

/// Memory of an [`Adjust`].
#[derive(Clone, Debug)]
pub struct Adjusted {
    /// The tokens that each sentence's texts begin with, [`FREE`] behind them, u32 `[sentences, capacity]`.
    pub prefixes: Tensor,
    /// u32 `[sentences * beam, capacity]`, scratch.
    pub texts: Tensor,
    /// Log-probabilities `[sentences * beam, classes]`. Rows that have finished or are absent hold anything.
    pub values: Tensor,
}

impl Adjusted {
    /// Memory without prefixes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] over the adapter's binding or buffer limit, [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, search: &BeamSearch) -> Result<Self> {
        let prefixes = [search.sentences, search.capacity];
        let free = vec![FREE; search.sentences * search.capacity];
        Ok(Self {
            prefixes: gpu.tensor("prefixes", prefixes, Dtype::U32, &free)?,
            texts: gpu.zeros("texts", [search.rows(), search.capacity], Dtype::U32)?,
            values: gpu.zeros("log-probabilities", [search.rows(), search.classes], Dtype::F32)?,
        })
    }
}

impl Adjust {
    /// Operations and bytes of a step with no row finished, less the search for n-grams.
    pub fn cost(&self) -> Cost {
        let elements = (self.search.rows() * self.search.classes) as f64;
        let members = self.members as f64;
        let mean = if self.members > 1 { 1.0 } else { 0.0 };
        Cost {
            operations: elements * members * (5.0 + 6.0 * mean),
            transcendental: elements * members * (1.25 + 3.0 * mean),
            read: ELEMENT as f64 * elements * members,
            written: ELEMENT as f64 * elements,
        }
    }

    /// Records `adjusted.values` from `logits` `[members, sentences * beam, classes]`, the `step`-th since the last count.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for settings or tensors that do not fit the search; [`crate::Error::Limit`] past the adapter's
    /// limits.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        logits: &Tensor,
        state: &BeamState,
        adjusted: &Adjusted,
        step: usize,
    ) -> Result<()> {
        let BeamSearch { sentences, beam, classes, capacity, .. } = self.search;
        let rows = self.search.rows();
        self.search.check(state)?;
        let members = (1..=MOST_MEMBERS).contains(&self.members);
        expect_setting(NAME, "members", members, "1 to 16 members", self.members as f64)?;
        expect(NAME, "logits", logits, &[self.members, rows, classes])?;
        expect(NAME, "prefixes", &adjusted.prefixes, &[sentences, capacity])?;
        expect(NAME, "texts", &adjusted.texts, &[rows, capacity])?;
        expect(NAME, "adjusted", &adjusted.values, &[rows, classes])?;
        // A walk back through the text, and a look at each place of it.
        let walk = if self.ngram > 0 { capacity } else { 0 };
        // Longer ones than a text do not fit into it once.
        let ngram = self.ngram.min(capacity.saturating_add(1));
        let places = walk.div_ceil(recorder.gpu().tiles().row as usize) * ngram;
        self.search.check_rounds(recorder.gpu(), 2 * self.members, walk + places)?;
        let sizes = [rows, capacity, classes, step, beam, self.members, self.shortest, ngram];
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_ADJUST,
            specialisation: candidate(recorder.gpu().tiles(), classes.is_multiple_of(4), false),
            params: &[&words(sizes)[..], &[self.search.specials.eos, self.forbidden.unwrap_or(FREE)]].concat(),
            tensors: &[logits, &state.all, &adjusted.prefixes, &adjusted.texts, &adjusted.values],
            workgroups: grid(rows),
            cost: self.cost(),
        })
    }
}
