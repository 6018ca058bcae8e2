//! Scores of a model on data.

use std::ops::AddAssign;

use serde::Serialize;

use super::{EvaluationSet, Generator, Likelihood, Scoring, SearchOptions, Written};
use crate::{
    Result,
    model::Model,
    text::{AnswerScores, AnswerStatistics, Confusion, Interval, Pair, Scores, bootstrap, metrics::Statistics},
};

/// Everything that [`evaluate_in_full`] finds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Scores of the texts.
    #[serde(flatten)]
    pub scores: Scores,
    /// Word error rate: the token error rate where what is scored is words; none where it is characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wer: Option<f64>,
    /// Of the references, every one of them, under the models that the generator has, an ensemble by the mean of their
    /// probabilities: the exponential of the mean loss per token, each `<eos>` included. None without a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The same loss in bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_token: Option<f64>,
    /// Where texts are names of classes: their counts and scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// Where texts are parts of their sources, answers to questions: the scores of SQuAD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_scores: Option<AnswerEvaluation>,
    /// 95 % intervals over what was scored, where they were asked for.
    pub intervals: Option<Intervals>,
    /// The fewest and the most references of a text; a single one, unless [`Scoring::group_references`] asks for more.
    pub references: [usize; 2],
    /// The settings of BLEU, in the form of sacreBLEU's signatures (Post, "A call for clarity in reporting BLEU scores", 2018).
    pub bleu_signature: String,
    /// The settings of chrF, in the same form.
    pub chrf_signature: String,
    /// Each source that was scored with its text.
    #[serde(skip)]
    pub texts: Vec<Pair>,
    /// The references of each.
    #[serde(skip)]
    pub answers: Vec<Vec<String>>,
}

/// The scores of answers, with their 95 % intervals where those were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "named as the scores are")]
#[non_exhaustive]
pub struct AnswerEvaluation {
    #[serde(flatten)]
    pub scores: AnswerScores,
    pub intervals: Option<[Interval; 2]>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_token: Option<Interval>,
}

/// The contribution of one text to all scores.
#[derive(Clone, Copy, Default)]
struct Item {
    statistics: Statistics,
    likelihood: Likelihood,
}

impl AddAssign for Item {
    fn add_assign(&mut self, other: Self) {
        self.statistics += other.statistics;
        self.likelihood += other.likelihood;
    }
}

/// Generates for the sources of `pairs` and scores each pair by itself. Returns the scores and the generated texts; under
/// [`SearchOptions::attended`] with unknown tokens replaced.
///
/// # Errors
/// [`crate::Error::Data`] for pairs that cannot be encoded or scored, [`crate::Error::Shape`] for options out of their range;
/// the errors of the device.
pub fn evaluate(model: &Model, pairs: &[Pair], options: &SearchOptions) -> Result<(Scores, Vec<Pair>)> {
    let mut generator = Generator::new(model);
    evaluate_with(&mut generator, model, &EvaluationSet::new(model, pairs, &Scoring::default())?, options)
}

/// Generates and scores like [`evaluate`], with a generator that keeps its Programs and pairs that are encoded already.
///
/// # Errors
/// [`crate::Error::Shape`] for options out of their range; the errors of the device.
pub fn evaluate_with(
    generator: &mut Generator,
    model: &Model,
    set: &EvaluationSet,
    options: &SearchOptions,
) -> Result<(Scores, Vec<Pair>)> {
    let written = set.write(generator, model, options)?;
    let mut sum = Statistics::default();
    set.statistics(&written).into_iter().for_each(|statistics| sum += statistics);
    Ok((sum.scores(), set.texts(written)))
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
    scoring: &Scoring,
) -> Result<Evaluation> {
    let set = EvaluationSet::up_to(generator.longest(), model, pairs, scoring)?;
    let written = set.write(generator, model, options)?;
    let likelihoods = set.likelihoods(generator, model, pairs)?;
    Ok(score(&set, written, &likelihoods, scoring))
}

/// Scores given texts, and, where there is a model, the likelihood of the references. `texts` are the name of their file, for
/// messages, and its lines: one for each of `pairs`, or, where references are grouped, one for each source in the order in which
/// they first stand.
///
/// # Errors
/// [`crate::Error::Data`] for another number of texts, for different ones for a source whose references are grouped, and for pairs
/// that cannot be encoded; the errors of the device.
pub fn evaluate_texts(
    model: Option<(&mut Generator, &Model)>,
    pairs: &[Pair],
    texts: (&str, &[String]),
    scoring: &Scoring,
) -> Result<Evaluation> {
    let Some((generator, model)) = model else {
        let set = EvaluationSet::of_words(pairs, scoring);
        let written = set.given(None, texts)?;
        return Ok(score(&set, written, &[], scoring));
    };
    let set = EvaluationSet::up_to(generator.longest(), model, pairs, scoring)?;
    let written = set.given(Some(model), texts)?;
    let likelihoods = set.likelihoods(generator, model, pairs)?;
    Ok(score(&set, written, &likelihoods, scoring))
}

/// The scores of texts, and those of the references' likelihoods, if there are any.
fn score(set: &EvaluationSet, written: Vec<Written>, likelihoods: &[Likelihood], scoring: &Scoring) -> Evaluation {
    let statistics = set.statistics(&written).into_iter().enumerate();
    let of_item = |place| likelihoods.get::<usize>(place).copied().unwrap_or_default();
    let items: Vec<Item> =
        statistics.map(|(place, statistics)| Item { statistics, likelihood: of_item(place) }).collect();
    let mut sum = Item::default();
    items.iter().for_each(|item| sum += *item);
    let Scoring { resamples, seed, .. } = *scoring;
    let likely = sum.likelihood.tokens > 0;
    let [fewest, most] = set.references();
    let references = if fewest == most { most.to_string() } else { "var".into() };
    let grouped = if scoring.group_references { "|grouped:source" } else { "" };
    let resampled = if resamples > 0 { format!("|bs:{resamples}|seed:{seed}") } else { String::new() };
    let start = format!("nrefs:{references}{grouped}{resampled}|case:mixed");
    let version = concat!("version:softalign ", env!("CARGO_PKG_VERSION"));
    let scores = sum.statistics.scores();
    let (texts, answers) = (set.texts(written), set.answers());
    let classes = texts.iter().zip(&answers).map(|(pair, own)| {
        // Of several right answers the one that was given, if it is one of them.
        let own = own.iter().find(|own| **own == pair.target).or(own.first());
        (own.map_or("", String::as_str), pair.target.as_str())
    });
    let confusion = set.names_classes.then(|| Confusion::of(classes));
    Evaluation {
        confusion,
        answer_scores: answer_scores(&set.answer_statistics(&texts), scoring),
        wer: set.scores_words.then_some(scores.token_error_rate),
        scores,
        perplexity: likely.then(|| sum.likelihood.perplexity()),
        bits_per_token: likely.then(|| sum.likelihood.bits_per_token()),
        intervals: (resamples > 0).then(|| intervals(&items, likely, resamples, seed)),
        references: [fewest, most],
        bleu_signature: format!("{start}|eff:no|tok:{}|smooth:exp|{version}", set.tokenization),
        chrf_signature: format!("{start}|eff:yes|nc:6|nw:0|space:no|{version}"),
        texts,
        answers,
    }
}

/// The scores of answers, if they are parts of their sources.
fn answer_scores(items: &[AnswerStatistics], scoring: &Scoring) -> Option<AnswerEvaluation> {
    let scores = AnswerStatistics::together(items)?;
    let pair = |item: &AnswerStatistics| {
        let AnswerScores { exact_match, f1, .. } = item.scores();
        [exact_match, f1]
    };
    let intervals = (scoring.resamples > 0).then(|| bootstrap(items, scoring.resamples, scoring.seed, pair));
    Some(AnswerEvaluation { scores, intervals })
}

fn intervals(items: &[Item], likely: bool, resamples: usize, seed: u64) -> Intervals {
    let found = bootstrap(items, resamples, seed, |Item { statistics, likelihood }| {
        let Scores { exact_match, token_error_rate, sentence_error_rate, bleu, chrf, .. } = statistics.scores();
        let [perplexity, bits] = [likelihood.perplexity(), likelihood.bits_per_token()];
        [exact_match, token_error_rate, sentence_error_rate, bleu, chrf, perplexity, bits]
    });
    let [exact_match, token_error_rate, sentence_error_rate, bleu, chrf, perplexity, bits_per_token] = found;
    let [perplexity, bits_per_token] = [perplexity, bits_per_token].map(|interval| likely.then_some(interval));
    Intervals { exact_match, token_error_rate, sentence_error_rate, bleu, chrf, perplexity, bits_per_token }
}
