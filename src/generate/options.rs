//! Options of a search.

use serde::Deserialize;

use crate::{
    Error, Result,
    kernels::beam_search::{BeamSearch, Rule, Sampling, WIDEST},
    model::Limits,
};

/// The most tokens that a text may be given room for.
const LONGEST: usize = 10_000;

/// Options of a search; the default is greedy. Fields will be added: end a literal with `..SearchOptions::default()`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchOptions {
    /// Hypotheses kept at each step, 1 to 64; 1 is greedy.
    pub beam: usize,
    /// Texts for each source, 1 to `beam`; where they are sampled, the number of samples, 1 to 64.
    pub n_best: usize,
    /// Alpha of Wu et al. (2016), section 7: texts that have ended compete by log-probability / ((5 + length) / 6)^alpha, their
    /// `<eos>` counted. 0 favours short texts, 1 about the mean of the tokens' log-probabilities.
    pub length_penalty: f32,
    /// Beta of Wu et al. (2016), section 7: beta times the sum over the source of log(min(attention, 1)) is added to a text's
    /// score.
    pub coverage_penalty: f32,
    /// Draws texts at random instead of searching for the best; `beam` must be 1.
    pub sampling: Option<Sampling>,
    /// The seed of random numbers, which are a hash of it.
    pub seed: u64,
    /// The number of the first source, for random numbers: parts of a file are sampled as the whole would be.
    pub first: u64,
    /// The length of n-grams that no text has twice; 0: any.
    pub no_repeat_ngram: usize,
    /// Writes no `<unk>`, but where a prefix has it.
    pub forbid_unknown: bool,
    /// The fewest tokens of a text, `<eos>` not counted.
    pub min_length: usize,
    /// The most tokens of a text, `<eos>` counted; a longer one is cut. Without it the model's `max_length`.
    pub max_length: Option<usize>,
    /// Keeps the source position that each token attended to most.
    pub attended: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            beam: 1,
            n_best: 1,
            length_penalty: 0.0,
            coverage_penalty: 0.0,
            sampling: None,
            seed: 1,
            first: 0,
            no_repeat_ngram: 0,
            forbid_unknown: false,
            min_length: 0,
            max_length: None,
            attended: false,
        }
    }
}

impl SearchOptions {
    /// A beam, and the default of everything else.
    pub fn beam(beam: usize) -> Self {
        Self { beam, ..Self::default() }
    }

    /// Rows that each sentence is given.
    pub(super) fn rows(&self) -> usize {
        if self.sampling.is_some() { self.n_best } else { self.beam }
    }

    /// Whether the logits are adjusted before tokens are chosen.
    pub(super) fn adjusts(&self) -> bool {
        self.no_repeat_ngram > 0 || self.min_length > 0 || self.forbid_unknown
    }

    /// Whether the search keeps the alignment.
    pub(super) fn attends(&self) -> bool {
        self.attended || self.coverage_penalty > 0.0
    }

    /// The options of searches that the same recording serves.
    pub(super) fn shape(&self) -> Self {
        Self { seed: 0, first: 0, ..self.clone() }
    }

    /// The search itself, with models of these limits.
    pub(super) fn search(&self, sentences: usize, limits: &Limits, normalised: bool) -> BeamSearch {
        let rule = match self.sampling {
            Some(sampling) => Rule::Sample(sampling),
            None => Rule::Best { length_penalty: self.length_penalty, asked: self.n_best },
        };
        BeamSearch {
            sentences,
            beam: self.rows(),
            classes: limits.target_vocabulary,
            capacity: self.max_length.unwrap_or(limits.max_length),
            rule,
            normalised,
            positions: self.attended,
            specials: limits.specials,
        }
    }

    /// Checks that the options can be followed by models with texts of up to `longest` tokens.
    pub(super) fn check(&self, longest: usize) -> Result<()> {
        let range = |argument, wanted: String, got: usize| {
            Err(Error::Shape { operation: "generate", argument, wanted, got: got.to_string() })
        };
        if !(1..=WIDEST).contains(&self.beam) {
            return range("beam", format!("1 to {WIDEST}"), self.beam);
        }
        if self.sampling.is_some() && self.beam > 1 {
            return range("beam", "1, as samples are drawn and not searched for".into(), self.beam);
        }
        let most = if self.sampling.is_some() { WIDEST } else { self.beam };
        if !(1..=most).contains(&self.n_best) {
            return range("n_best", format!("1 to {most}"), self.n_best);
        }
        let capacity = self.max_length.unwrap_or(longest);
        if !(1..=LONGEST).contains(&capacity) {
            return range("max_length", format!("1 to {LONGEST}"), capacity);
        }
        if self.min_length >= capacity {
            return range("min_length", format!("less than the greatest length, {capacity}"), self.min_length);
        }
        let number = |argument, valid: bool, wanted: &str, got: f32| match valid {
            true => Ok(()),
            false => {
                let (wanted, got) = (wanted.to_owned(), got.to_string());
                Err(Error::Shape { operation: "generate", argument, wanted, got })
            }
        };
        let penalty = |value: f32| (0.0..=100.0).contains(&value);
        number("length_penalty", penalty(self.length_penalty), "0 to 100", self.length_penalty)?;
        number("coverage_penalty", penalty(self.coverage_penalty), "0 to 100", self.coverage_penalty)?;
        if let Some(Sampling { temperature, top_p, .. }) = self.sampling {
            let wanted = "0.01 to 100; without sampling the likeliest tokens are taken";
            number("temperature", (0.01..=100.0).contains(&temperature), wanted, temperature)?;
            number("top_p", top_p > 0.0 && top_p <= 1.0, "more than 0, up to 1", top_p)?;
        }
        Ok(())
    }
}
