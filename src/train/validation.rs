//! Validation during training: its data, the model's scores on them, and a few of its texts.

use std::sync::Arc;

use super::{Validated, corpus::Valid, examples::examples};
use crate::{
    Result,
    generate::{
        EvaluationSet, Generator, Likelihood, Sampling, Scorer, Scoring, ScoringBatches, SearchOptions, evaluate_with,
    },
    model::Model,
    ranks::Ranks,
    text::{AnswerScores, AnswerStatistics, Example, Pair, Scores, spread},
};

/// Sources that a validation during training looks at, at most. Of a thousand, chance decides between models half a point
/// apart; four thousand take seconds.
const VALIDATED: usize = 4_000;
/// Samples shown at a validation.
const SAMPLES: usize = 3;
/// The most tokens of a prompt, and of what the model writes behind it.
const PROMPT: usize = 40;

/// The validation data of a run, encoded once, with the generator and scorer of the model.
#[derive(Debug)]
pub(super) struct Validation {
    generator: Generator,
    scorer: Scorer,
    data: Data,
    batches: ScoringBatches,
}

#[derive(Clone, Debug)]
enum Data {
    Pairs { pairs: Vec<Pair>, set: EvaluationSet },
    Plain { windows: usize, bytes: usize, prompts: Vec<Prompt> },
    Masked { windows: usize, samples: Vec<Masked> },
}

/// The beginning of a window, and how it is without masks.
#[derive(Clone, Debug)]
struct Masked {
    tokens: Vec<u32>,
    text: String,
    original: String,
}

/// A place of a plain text: some tokens for the model to continue, and how the text does.
#[derive(Clone, Debug)]
struct Prompt {
    tokens: Vec<u32>,
    text: String,
    continuation: String,
}

impl Validation {
    /// A validation on at most [`VALIDATED`] sources of pairs with all their targets, compared as `scoring` says, or on plain text.
    /// Each run uses the parameters that `model` has then. Ranks share out its batches.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a pair that cannot be encoded, or whose source is longer than the model's `max_length`.
    pub fn new(model: &Model, valid: Valid, scoring: &Scoring, ranks: Option<Arc<dyn Ranks>>) -> Result<Self> {
        let generator = Generator::new(model).among(ranks);
        let scorer = generator.scorer();
        let (data, examples) = match valid {
            Valid::Pairs(valid) => {
                let pairs = spread(valid, VALIDATED);
                let tokenizers = [&model.source, &model.target];
                let examples = examples(model.network.as_ref(), tokenizers, &scoring.name, &pairs)?;
                let set = EvaluationSet::new(model, &pairs, scoring)?;
                (Data::Pairs { pairs, set }, examples)
            }
            Valid::Plain(windows, bytes) => {
                let prompts = prompts(model, &windows);
                (Data::Plain { windows: windows.len(), bytes, prompts }, windows)
            }
            Valid::Masked(windows) => {
                let samples = masked(model, &windows);
                (Data::Masked { windows: windows.len(), samples }, windows)
            }
        };
        let batches = scorer.batches(&examples)?;
        Ok(Self { generator, scorer, data, batches })
    }

    /// The same validation of another model of the run.
    pub fn of(&self, model: &Model) -> Self {
        let (data, batches) = (self.data.clone(), self.batches.clone());
        let generator = Generator::new(model).among(self.generator.ranks());
        Self { scorer: generator.scorer(), generator, data, batches }
    }

    /// The number of validation pairs, or of windows of plain text.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Pairs { pairs, .. } => pairs.len(),
            Data::Plain { windows, .. } | Data::Masked { windows, .. } => *windows,
        }
    }

    /// The scores of the model, and its text for each distinct source; of plain text, what it writes behind a few prompts.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn run(&mut self, model: &Model) -> Result<(Validated, Vec<Pair>)> {
        let (scores, f1, texts) = match &self.data {
            Data::Pairs { set, .. } => {
                let (scores, texts) = evaluate_with(&mut self.generator, model, set, &SearchOptions::default())?;
                match AnswerStatistics::together(&set.answer_statistics(&texts)) {
                    Some(AnswerScores { exact_match, f1, .. }) => {
                        let sentence_error_rate = 100.0 - exact_match;
                        (Some(Scores { exact_match, sentence_error_rate, ..scores }), Some(f1), texts)
                    }
                    None => (Some(scores), None, texts),
                }
            }
            Data::Plain { prompts, .. } => (None, None, continued(&mut self.generator, model, prompts)?),
            Data::Masked { samples, .. } => (None, None, filled(&mut self.generator, model, samples)?),
        };
        let mut all = Likelihood::default();
        self.scorer.score_batches(&self.batches)?.into_iter().for_each(|one| all += one);
        let cross_entropy = -all.log_probability / all.tokens.max(1) as f64;
        let bits_per_byte = match self.data {
            Data::Pairs { .. } | Data::Masked { .. } => None,
            Data::Plain { bytes, .. } => Some(all.bits() / bytes.max(1) as f64),
        };
        Ok((Validated { scores, f1, cross_entropy, bits_per_byte }, texts))
    }

    /// A few texts with their references: other ones after each `step`, the same ones in every run; of plain text all of them.
    pub fn samples(&self, step: u64, texts: &[Pair]) -> Vec<(Pair, String)> {
        let pairs = match &self.data {
            Data::Pairs { pairs, .. } => pairs,
            Data::Plain { prompts, .. } => {
                let samples = texts.iter().zip(prompts);
                return samples.map(|(text, prompt)| (text.clone(), prompt.continuation.clone())).collect();
            }
            Data::Masked { samples, .. } => {
                let samples = texts.iter().zip(samples);
                return samples.map(|(text, sample)| (text.clone(), sample.original.clone())).collect();
            }
        };
        let first = (step as usize).wrapping_mul(SAMPLES).checked_rem(texts.len()).unwrap_or_default();
        let sample = |text: &Pair| {
            let text = text.clone();
            // Of several references the one that the text equals, if any.
            let answers = || pairs.iter().filter(|pair| pair.source == text.source).map(|pair| &pair.target);
            let reference = answers().find(|target| **target == text.target).or_else(|| answers().next());
            let reference = reference.cloned().unwrap_or_default();
            (text, reference)
        };
        texts.iter().cycle().skip(first).take(SAMPLES.min(texts.len())).map(sample).collect()
    }
}

/// Prompts from all over a text: the first half of a window, the second being how it goes on.
fn prompts(model: &Model, windows: &[Example]) -> Vec<Prompt> {
    let long: Vec<_> = windows.iter().filter(|window| window.target.len() > 1).collect();
    let chosen = long.iter().step_by(long.len().div_ceil(SAMPLES).max(1));
    let prompt = |window: &&Example| {
        let (tokens, rest) = window.target.split_at((window.target.len() / 2).min(PROMPT));
        let rest = rest.get(..PROMPT).unwrap_or(rest);
        let [text, continuation] = [tokens, rest].map(|part| model.target.decode(part));
        Prompt { tokens: tokens.to_vec(), text, continuation }
    };
    chosen.map(prompt).collect()
}

/// The beginnings of windows from all over a text.
fn masked(model: &Model, windows: &[Example]) -> Vec<Masked> {
    let chosen = windows.iter().step_by(windows.len().div_ceil(SAMPLES).max(1));
    let padding = model.network.limits().padding;
    let sample = |window: &Example| {
        let own = model.source.own(&window.source);
        let own = own.start..own.end.min(own.start + PROMPT);
        let read = window.source.get(own.clone()).unwrap_or_default();
        let wanted = window.target.get(own).unwrap_or_default();
        let original = read.iter().zip(wanted).map(|(read, wanted)| if *wanted == padding { *read } else { *wanted });
        let original: Vec<u32> = original.collect();
        let text = model.source.decode_masked(read);
        Masked { tokens: model.source.framed(read.to_vec()), text, original: model.source.decode(&original) }
    };
    chosen.map(sample).collect()
}

/// What the model fills in.
fn filled(generator: &mut Generator, model: &Model, samples: &[Masked]) -> Result<Vec<Pair>> {
    let sources: Vec<_> = samples.iter().map(|sample| sample.tokens.clone()).collect();
    let found = generator.generate(&sources, &SearchOptions::default())?;
    let texts = samples.iter().zip(found).map(|(sample, found)| {
        let best = found.into_iter().next().unwrap_or_default();
        Pair::new(sample.text.clone(), model.source.decode(&best.tokens))
    });
    Ok(texts.collect())
}

/// What the model writes behind each prompt: drawn from the likelier tokens, for a search repeats itself (Holtzman et al., "The
/// Curious Case of Neural Text Degeneration", 2020, section 3.1).
fn continued(generator: &mut Generator, model: &Model, prompts: &[Prompt]) -> Result<Vec<Pair>> {
    let options = SearchOptions {
        sampling: Some(Sampling { temperature: 1.0, top_k: 0, top_p: 0.9 }),
        max_length: Some((2 * PROMPT).min(generator.longest())),
        ..SearchOptions::default()
    };
    let prefixes: Vec<_> = prompts.iter().map(|prompt| prompt.tokens.clone()).collect();
    let found = generator.generate_behind(&vec![Vec::new(); prompts.len()], &prefixes, &options)?;
    let texts = prompts.iter().zip(found).map(|(prompt, found)| {
        let tokens = found.into_iter().next().unwrap_or_default().tokens;
        let behind = tokens.get(prompt.tokens.len()..).unwrap_or_default();
        Pair::new(prompt.text.clone(), model.target.decode(behind))
    });
    Ok(texts.collect())
}
