//! Validation during training: its pairs, the model's scores on them, and a few of its texts.

use super::Validated;
use crate::{
    Result,
    generate::{EvaluationSet, Generator, Likelihood, Scorer, Scoring, ScoringBatches, SearchOptions, evaluate_with},
    model::Model,
    text::{Pair, encode_pairs, spread},
};

/// Sources that a validation during training looks at, at most. Of a thousand, chance decides between models half a point
/// apart; four thousand take seconds.
const VALIDATED: usize = 4_000;
/// Samples shown at a validation.
const SAMPLES: usize = 3;

/// The validation pairs of a run, encoded once, with the generator and scorer of the model.
#[derive(Debug)]
pub(super) struct Validation {
    generator: Generator,
    scorer: Scorer,
    pairs: Vec<Pair>,
    set: EvaluationSet,
    batches: ScoringBatches,
}

impl Validation {
    /// A validation on at most [`VALIDATED`] sources of `valid` with all their targets, compared as `scoring` says. Each run uses the parameters that
    /// `model` has then.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a pair that cannot be encoded, or whose source is longer than the model's `max_length`.
    pub fn new(model: &Model, valid: Vec<Pair>, scoring: &Scoring) -> Result<Self> {
        let pairs = spread(valid, VALIDATED);
        let examples = encode_pairs(&scoring.name, &pairs, &model.source, &model.target, usize::MAX)?;
        let (generator, scorer) = (Generator::new(model), Scorer::new(model));
        let (set, batches) = (EvaluationSet::new(model, &pairs, scoring)?, scorer.batches(&examples)?);
        Ok(Self { generator, scorer, pairs, set, batches })
    }

    /// The same validation of another model of the run.
    pub fn of(&self, model: &Model) -> Self {
        let Self { pairs, set, batches, .. } = self;
        let (pairs, set, batches) = (pairs.clone(), set.clone(), batches.clone());
        Self { generator: Generator::new(model), scorer: Scorer::new(model), pairs, set, batches }
    }

    /// The validation pairs.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The scores of the model, and its text for each distinct source.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn run(&mut self, model: &Model) -> Result<(Validated, Vec<Pair>)> {
        let (scores, texts) = evaluate_with(&mut self.generator, model, &self.set, &SearchOptions::default())?;
        let mut all = Likelihood::default();
        self.scorer.score_batches(&self.batches)?.into_iter().for_each(|one| all += one);
        let cross_entropy = -all.log_probability / all.tokens.max(1) as f64;
        Ok((Validated { scores, cross_entropy }, texts))
    }

    /// A few texts with their references: other ones after each `step`, the same ones in every run.
    pub fn samples(&self, step: u64, texts: &[Pair]) -> Vec<(Pair, String)> {
        let first = (step as usize).wrapping_mul(SAMPLES).checked_rem(texts.len()).unwrap_or_default();
        let sample = |text: &Pair| {
            let text = text.clone();
            // Of several references the one that the text equals, if any.
            let answers = || self.pairs.iter().filter(|pair| pair.source == text.source).map(|pair| &pair.target);
            let reference = answers().find(|target| **target == text.target).or_else(|| answers().next());
            let reference = reference.cloned().unwrap_or_default();
            (text, reference)
        };
        texts.iter().cycle().skip(first).take(SAMPLES.min(texts.len())).map(sample).collect()
    }
}
