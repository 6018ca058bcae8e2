//! Validation during training: which pairs are looked at, how the model does on them, and a few of its answers.

use std::collections::HashSet;

use crate::{
    Result,
    generate::{Generator, SearchOptions, evaluate_with},
    model::Model,
    text::{Pair, Scores},
};

/// Sources that a validation during training looks at, at most.
const VALIDATED: usize = 1_000;
/// Samples shown at a validation.
const SAMPLES: usize = 3;

/// The pairs that a run checks with, and what decodes them.
#[derive(Debug)]
pub(super) struct Validation {
    generator: Generator,
    pairs: Vec<Pair>,
}

impl Validation {
    /// Of `valid` at most [`VALIDATED`] sources with all their targets. The parameters are `model`'s at the time of each run.
    pub fn new(model: &Model, valid: Vec<Pair>) -> Self {
        Self { generator: Generator::new(model), pairs: spread(valid) }
    }

    /// The pairs looked at.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Scores, and the text for each distinct source.
    ///
    /// # Errors
    /// As [`evaluate_with`].
    pub fn run(&mut self, model: &Model) -> Result<(Scores, Vec<Pair>)> {
        evaluate_with(&mut self.generator, model, &self.pairs, &SearchOptions::default())
    }

    /// A few texts with their references: other ones after each `step`, the same ones in every run.
    pub fn samples(&self, step: u64, texts: &[Pair]) -> Vec<(Pair, String)> {
        let first = step as usize * SAMPLES;
        let sample = |index: usize| {
            let text = texts[index % texts.len()].clone();
            // Of several right answers the one that was given, if it is right.
            let answers = || self.pairs.iter().filter(|pair| pair.source == text.source).map(|pair| &pair.target);
            let reference = answers().find(|target| **target == text.target).or_else(|| answers().next());
            let reference = reference.cloned().unwrap_or_default();
            (text, reference)
        };
        (first..first + SAMPLES.min(texts.len())).map(sample).collect()
    }
}

/// At most [`VALIDATED`] sources with all their targets, from all over the file, which may be sorted.
fn spread(valid: Vec<Pair>) -> Vec<Pair> {
    let mut seen = HashSet::new();
    let sources: Vec<&str> =
        valid.iter().map(|pair| pair.source.as_str()).filter(|source| seen.insert(*source)).collect();
    let step = sources.len().div_ceil(VALIDATED).max(1);
    let kept: HashSet<String> = sources.into_iter().step_by(step).map(str::to_owned).collect();
    valid.into_iter().filter(|pair| kept.contains(&pair.source)).collect()
}
