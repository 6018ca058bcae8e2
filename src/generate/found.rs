//! Reading of texts from a search's state on the host.

use super::{Hypothesis, SearchOptions};
use crate::{
    Tensor,
    batch::Specials,
    kernels::beam_search::{BeamSearch, BeamState, length_penalty},
};

/// A score below this marks what is absent: beams may be wider than there are texts.
const ABSENT: f32 = -1e29;

/// The words of a search's state after `steps` steps.
pub(super) struct Found<'a> {
    search: &'a BeamSearch,
    state: &'a BeamState,
    words: &'a [u32],
    steps: usize,
}

impl<'a> Found<'a> {
    pub fn new(search: &'a BeamSearch, state: &'a BeamState, words: &'a [u32], steps: usize) -> Self {
        Self { search, state, words, steps }
    }

    fn part(&self, part: &Tensor) -> &'a [u32] {
        self.state.words(self.words, part)
    }

    /// A row's word of a part.
    fn at(&self, part: &Tensor, row: usize) -> u32 {
        self.part(part).get(row).copied().unwrap_or_default()
    }

    /// The texts of the first `sentences`.
    pub fn hypotheses(&self, sentences: usize, options: &SearchOptions) -> Vec<Vec<Hypothesis>> {
        let beam = self.search.beam;
        let of_row = |row| if self.search.apart() { self.own(row, options) } else { self.ended(row) };
        let of_sentence = |first: usize| (first..first + beam).filter_map(of_row).take(options.n_best).collect();
        (0..sentences).map(|sentence| of_sentence(sentence * beam)).collect()
    }

    /// The text of a row that has continued by itself.
    fn own(&self, row: usize, options: &SearchOptions) -> Option<Hypothesis> {
        let log_probability = f32::from_bits(self.at(&self.state.scores, row));
        let (mut tokens, mut attended) = self.follow(row, self.steps);
        let Specials { pad, eos, .. } = self.search.specials;
        let length = tokens.iter().position(|token| [pad, eos].contains(token)).unwrap_or(tokens.len());
        tokens.truncate(length);
        attended.truncate(length);
        let finished = self.at(&self.state.finished, row) != 0;
        let penalty = f32::from_bits(self.at(&self.state.penalties, row));
        let score = log_probability / length_penalty(options.length_penalty, length + usize::from(finished)) + penalty;
        (log_probability > ABSENT).then_some(Hypothesis { tokens, score, finished, attended })
    }

    /// A text that has ended among hypotheses that compete.
    fn ended(&self, row: usize) -> Option<Hypothesis> {
        let at = |part| self.at(part, row);
        let score = f32::from_bits(at(&self.state.ended_scores));
        if score <= ABSENT {
            return None;
        }
        let (step, parent, token) = (
            at(&self.state.ended_steps) as usize,
            at(&self.state.ended_parents) as usize,
            at(&self.state.ended_tokens),
        );
        let (mut tokens, mut attended) = self.follow(parent, step);
        let finished = token == self.search.specials.eos;
        if !finished {
            tokens.push(token);
            attended.extend(self.attended(step, parent));
        }
        Some(Hypothesis { tokens, score, finished, attended })
    }

    /// The tokens that `steps` steps have given `row`, and what each attended to.
    fn follow(&self, row: usize, steps: usize) -> (Vec<u32>, Vec<u32>) {
        let rows = self.search.rows();
        let (tokens, parents) = (self.part(&self.state.history_tokens), self.part(&self.state.history_parents));
        let (mut at, mut text, mut attended) = (row, Vec::new(), Vec::new());
        for step in (0..steps).rev() {
            let place = step * rows + at;
            // A row that there is not would be a parent that the search has not written.
            let (Some(token), Some(parent)) = (tokens.get(place), parents.get(place)) else { break };
            text.push(*token);
            at = *parent as usize;
            attended.extend(self.attended(step, at));
        }
        text.reverse();
        attended.reverse();
        (text, attended)
    }

    /// The source position that a row attended to most at a step, if it was kept.
    fn attended(&self, step: usize, row: usize) -> Option<u32> {
        self.part(&self.state.positions).get(step * self.search.rows() + row).copied()
    }
}
