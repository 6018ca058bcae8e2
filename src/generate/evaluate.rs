//! Scores of a model on data.

use std::{
    collections::{HashMap, HashSet},
    ops::AddAssign,
};

use serde::Serialize;

use super::{Generator, Likelihood, Scorer, SearchOptions, replace_unknown};
use crate::{
    Result,
    model::Model,
    text::{Interval, Pair, Scores, bootstrap, encode_pairs, metrics},
};

/// Settings of the bootstrap that gives the intervals of an [`Evaluation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// The number of corpora drawn; 0 for no intervals.
    pub resamples: usize,
    /// The seed of the draws of their sources.
    pub seed: u64,
}

/// Everything that [`evaluate_in_full`] finds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Scores of the generated texts.
    #[serde(flatten)]
    pub scores: Scores,
    /// Word error rate: the token error rate where what is scored is words; none where it is characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wer: Option<f64>,
    /// Of the references, every one of them, under the model alone even where an ensemble wrote the texts: the exponential
    /// of the mean loss per token, each `<eos>` included.
    pub perplexity: f64,
    /// The same loss in bits.
    pub bits_per_token: f64,
    /// 95 % intervals over the sources, where they were asked for.
    pub intervals: Option<Intervals>,
    /// The settings of BLEU, in the form of sacreBLEU's signatures (Post, "A call for clarity in reporting BLEU scores", 2018).
    pub bleu_signature: String,
    /// The settings of chrF, in the same form.
    pub chrf_signature: String,
    /// The generated text of each distinct source.
    #[serde(skip)]
    pub texts: Vec<Pair>,
}

/// 95 % intervals of the scores by their names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "named as the scores are")]
#[non_exhaustive]
pub struct Intervals {
    pub exact_match: Interval,
    #[serde(rename = "per")]
    pub token_error_rate: Interval,
    pub sentence_error_rate: Interval,
    pub bleu: Interval,
    pub chrf: Interval,
    pub perplexity: Interval,
    pub bits_per_token: Interval,
}

/// Pairs to evaluate on, encoded for every model of the same tokenizers.
#[derive(Clone, Debug)]
pub struct EvaluationSet {
    /// The distinct sources.
    sources: Vec<String>,
    /// Their tokens, each with its `<eos>`.
    tokens: Vec<Vec<u32>>,
    references: metrics::References,
}

impl EvaluationSet {
    /// Encodes the distinct sources of `pairs`, and takes their targets as references.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a text that the tokenizer refuses, or a source longer than the model's `max_length`.
    pub fn new(model: &Model, pairs: &[Pair]) -> Result<Self> {
        let mut seen = HashSet::new();
        let sources = pairs.iter().map(|pair| &pair.source).filter(|source| seen.insert(*source));
        let sources: Vec<String> = sources.cloned().collect();
        let tokens = sources.iter().map(|source| model.encode(source)).collect::<Result<_>>()?;
        let references = metrics::references(pairs, |target| model.target.units_of(target))?;
        Ok(Self { sources, tokens, references })
    }
}

/// The contribution of one source to all scores.
#[derive(Clone, Copy, Default)]
struct Item {
    statistics: metrics::Statistics,
    likelihood: Likelihood,
}

impl AddAssign for Item {
    fn add_assign(&mut self, other: Self) {
        self.statistics += other.statistics;
        self.likelihood += other.likelihood;
    }
}

/// Generates for every distinct source of `pairs` and scores once per source. Returns the scores and the generated texts; under
/// [`SearchOptions::attended`] with unknown tokens replaced.
///
/// # Errors
/// [`crate::Error::Data`] for pairs that cannot be encoded or scored, [`crate::Error::Shape`] for options out of their range;
/// the errors of the device.
pub fn evaluate(model: &Model, pairs: &[Pair], options: &SearchOptions) -> Result<(Scores, Vec<Pair>)> {
    evaluate_with(&mut Generator::new(model), model, &EvaluationSet::new(model, pairs)?, options)
}

/// Generates and scores like [`evaluate`], with a generator that keeps its Programs and pairs that are encoded already.
///
/// # Errors
/// [`crate::Error::Shape`] for options out of their range; [`crate::Error::Data`] for texts that cannot be scored; the errors
/// of the device.
pub fn evaluate_with(
    generator: &mut Generator,
    model: &Model,
    set: &EvaluationSet,
    options: &SearchOptions,
) -> Result<(Scores, Vec<Pair>)> {
    let (statistics, texts) = statistics(generator, model, set, options)?;
    let mut sum = metrics::Statistics::default();
    statistics.into_iter().for_each(|statistics| sum += statistics);
    Ok((sum.scores(), texts))
}

/// Generates and scores like [`evaluate`], and adds the likelihood of the references and an interval for every score.
///
/// # Errors
/// [`crate::Error::Data`] for pairs that cannot be encoded or scored, [`crate::Error::Shape`] for options out of their range;
/// the errors of the device.
pub fn evaluate_in_full(
    generator: &mut Generator,
    model: &Model,
    pairs: &[Pair],
    options: &SearchOptions,
    resampling: Resampling,
) -> Result<Evaluation> {
    let (statistics, texts) = statistics(generator, model, &EvaluationSet::new(model, pairs)?, options)?;
    // Sources are short enough already, and a reference may be as long as it likes.
    let examples = encode_pairs("evaluate", pairs, &model.source, &model.target, usize::MAX)?;
    let likelihoods = Scorer::new(model).score(&examples)?;
    let mut items: Vec<Item> =
        statistics.into_iter().map(|statistics| Item { statistics, ..Item::default() }).collect();
    let places: HashMap<&str, usize> = texts.iter().map(|text| text.source.as_str()).zip(0..).collect();
    for (pair, likelihood) in pairs.iter().zip(likelihoods) {
        if let Some(item) = places.get(pair.source.as_str()).and_then(|place| items.get_mut(*place)) {
            item.likelihood += likelihood;
        }
    }
    let mut sum = Item::default();
    items.iter().for_each(|item| sum += *item);
    let Resampling { resamples, seed } = resampling;
    let intervals = (resamples > 0).then(|| intervals(&items, resamples, seed));
    let resampled = if resamples > 0 { format!("bs:{resamples}|seed:{seed}|") } else { String::new() };
    let start = format!("nrefs:{}|{resampled}case:mixed", references(pairs, texts.len()));
    let version = concat!("version:softalign ", env!("CARGO_PKG_VERSION"));
    let scores = sum.statistics.scores();
    Ok(Evaluation {
        wer: model.target.scores_words().then_some(scores.token_error_rate),
        scores,
        perplexity: sum.likelihood.perplexity(),
        bits_per_token: sum.likelihood.bits_per_token(),
        intervals,
        bleu_signature: format!("{start}|eff:no|tok:{}|smooth:exp|{version}", model.target.scored_unit()),
        chrf_signature: format!("{start}|eff:yes|nc:6|nw:0|space:no|{version}"),
        texts,
    })
}

/// The best text of each distinct source, and what it adds to the scores.
fn statistics(
    generator: &mut Generator,
    model: &Model,
    set: &EvaluationSet,
    options: &SearchOptions,
) -> Result<(Vec<metrics::Statistics>, Vec<Pair>)> {
    let found = generator.generate(&set.tokens, options)?;
    let (mut items, mut texts) = (Vec::new(), Vec::new());
    for (source, hypotheses) in set.sources.iter().zip(found) {
        let best = hypotheses.into_iter().next().unwrap_or_default();
        let (text, units) = match options.attended {
            true => {
                let text = replace_unknown(model, source, &best)?;
                let units = model.target.units_of(&text)?;
                (text, units)
            }
            false => (model.target.decode(&best.tokens), model.target.units(&best.tokens)),
        };
        texts.push(Pair::new(source, text));
        items.push((source.clone(), units));
    }
    Ok((metrics::statistics(&items, &set.references)?, texts))
}

fn intervals(items: &[Item], resamples: usize, seed: u64) -> Intervals {
    let found = bootstrap(items, resamples, seed, |Item { statistics, likelihood }| {
        let Scores { exact_match, token_error_rate, sentence_error_rate, bleu, chrf, .. } = statistics.scores();
        [
            exact_match,
            token_error_rate,
            sentence_error_rate,
            bleu,
            chrf,
            likelihood.perplexity(),
            likelihood.bits_per_token(),
        ]
    });
    let [exact_match, token_error_rate, sentence_error_rate, bleu, chrf, perplexity, bits_per_token] = found;
    Intervals { exact_match, token_error_rate, sentence_error_rate, bleu, chrf, perplexity, bits_per_token }
}

/// The number of references per source, or `var` where it varies, for a signature.
fn references(pairs: &[Pair], sources: usize) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    pairs.iter().for_each(|pair| *counts.entry(&pair.source).or_default() += 1);
    let each = pairs.len() / sources.max(1);
    if counts.values().all(|count| *count == each) { each.to_string() } else { "var".into() }
}
