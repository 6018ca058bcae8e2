//! Metrics of hypotheses against one or several references each. All rates are in percent.

use std::{
    collections::{BTreeMap, HashSet},
    ops::AddAssign,
};

pub use super::segment::Segment;
use super::{Pair, bleu::Bleu, chrf::Chrf};
use crate::{Error, Result};

/// The references of every distinct source, as tokens.
pub type References = BTreeMap<String, Vec<Vec<String>>>;

/// The scores of [`score`]. All but `count` are percentages.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Scores {
    /// The share of distinct sources whose hypothesis equals one of its references.
    pub exact_match: f64,
    /// Edits to the nearest references per token of those: the field's word error rate where tokens are words, and its phoneme
    /// error rate (the key of its column in files) where they are phones. Can pass 100.
    #[serde(rename = "per")]
    pub token_error_rate: f64,
    /// The share of distinct sources whose hypothesis equals none of its references. Papers on graphemes to phonemes, whose
    /// sources are single words, call it word error rate.
    pub sentence_error_rate: f64,
    /// Corpus BLEU over the same sources.
    pub bleu: f64,
    /// Corpus chrF2 over the same sources.
    pub chrf: f64,
    /// The number of distinct sources scored.
    pub count: usize,
}

/// The contribution of segments to every score: counts, so that any set of segments is scored by their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    segments: usize,
    wrong: usize,
    /// Edits to the nearest references.
    edits: usize,
    /// Tokens of the nearest references.
    length: usize,
    bleu: Bleu,
    chrf: Chrf,
}

impl Statistics {
    /// Of one segment, every score on the same tokens.
    pub fn of(segment: Segment) -> Self {
        Self::of_forms([segment; 3])
    }

    /// Of one segment in the forms that scores compare: units of the error rates, tokens of BLEU ([`super::Tokenization`]), and
    /// texts, whose characters chrF compares.
    pub fn of_forms([(hypothesis, answers), tokens, texts]: [Segment; 3]) -> Self {
        let distances = answers.iter().map(|answer| (edit_distance(hypothesis, answer), answer.len()));
        let (edits, length) =
            distances.min_by_key(|&(edits, length)| (edits, std::cmp::Reverse(length))).unwrap_or((0, 0));
        Self {
            segments: 1,
            wrong: usize::from(!answers.iter().any(|answer| answer == hypothesis)),
            edits,
            length,
            bleu: Bleu::of(tokens),
            chrf: Chrf::of(texts),
        }
    }

    /// Of several segments together.
    pub fn sum(segments: &[Segment]) -> Self {
        let mut sum = Self::default();
        segments.iter().for_each(|segment| sum += Self::of(*segment));
        sum
    }

    /// The scores of the segments that were added; those of none are 0, except that all of them match exactly.
    pub fn scores(&self) -> Scores {
        let sentence_error_rate = percent(self.wrong, self.segments);
        Scores {
            exact_match: 100.0 - sentence_error_rate,
            token_error_rate: if self.length == 0 && self.edits > 0 { 100.0 } else { percent(self.edits, self.length) },
            sentence_error_rate,
            bleu: self.bleu.score(),
            chrf: self.chrf.score(),
            count: self.segments,
        }
    }
}

impl AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.wrong += other.wrong;
        self.edits += other.edits;
        self.length += other.length;
        self.bleu += other.bleu;
        self.chrf += other.chrf;
    }
}

/// Collects the targets of `pairs` by source, cut into tokens by `tokens`.
///
/// # Errors
/// The first error of `tokens`.
pub fn references(pairs: &[Pair], tokens: impl Fn(&str) -> Result<Vec<String>>) -> Result<References> {
    let mut references = References::new();
    for pair in pairs {
        references.entry(pair.source.clone()).or_default().push(tokens(&pair.target)?);
    }
    Ok(references)
}

/// Scores hypotheses, given as (source, tokens of the hypothesis), once per distinct source: of several hypotheses for
/// one source the first counts.
///
/// # Errors
/// [`Error::Data`] where there is nothing to score, or a source has no reference.
pub fn score(items: &[(String, Vec<String>)], references: &References) -> Result<Scores> {
    let mut sum = Statistics::default();
    statistics(items, references)?.into_iter().for_each(|statistics| sum += statistics);
    Ok(sum.scores())
}

/// The contribution of each distinct source to the scores of [`score`], in the order of `items`.
///
/// # Errors
/// [`Error::Data`] where there is nothing to score, or a source has no reference.
pub fn statistics(items: &[(String, Vec<String>)], references: &References) -> Result<Vec<Statistics>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (source, hypothesis) in items {
        if !seen.insert(source) {
            continue;
        }
        match references.get(source) {
            Some(answers) if !answers.is_empty() => found.push(Statistics::of((hypothesis, answers))),
            _ => return Err(Error::data("scores", format!("the source `{source}` has no reference; add its target"))),
        }
    }
    if found.is_empty() {
        return Err(Error::data("scores", "there are no hypotheses to score; give at least one"));
    }
    Ok(found)
}

/// The fewest insertions, deletions and substitutions that turn `a` into `b` (Levenshtein).
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    // Distances from the tokens of `a` so far to every prefix of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let up = *cell;
            *cell = (diagonal + usize::from(x != y)).min(up + 1).min(left + 1);
            (diagonal, left) = (up, *cell);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The share of segments whose hypothesis equals none of its references, in percent; 0 without segments.
pub fn sentence_error_rate(segments: &[Segment]) -> f64 {
    Statistics::sum(segments).scores().sentence_error_rate
}

/// The sum of edits to each nearest reference (fewest edits; of equals the longer) over the sum of those references'
/// lengths, in percent. Segments without references do not count; without any reference token it is 0 or, where there
/// are edits, 100.
pub fn token_error_rate(segments: &[Segment]) -> f64 {
    Statistics::sum(segments).scores().token_error_rate
}

/// Corpus BLEU in percent (Papineni et al., 2002) on the given tokens: up to 4-grams, counts clipped by the most that
/// any one reference has, brevity penalty from the closest reference length (of equals the shorter), and sacreBLEU's
/// `exp` smoothing: the k-th order without a match counts as 1 / 2^k matches.
///
/// Without any match, or where no hypothesis has four tokens, it is 0, as in sacreBLEU.
pub fn bleu(segments: &[Segment]) -> f64 {
    Statistics::sum(segments).scores().bleu
}

/// Corpus chrF2 in percent (Popović, "chrF: character n-gram F-score", 2015): runs of up to six characters, white space left
/// out, recall weighing twice as much as precision, of several references the one that the hypothesis is closest to. As in
/// sacreBLEU, orders that the hypothesis or the reference is too short for do not count.
pub fn chrf(segments: &[Segment]) -> f64 {
    Statistics::sum(segments).scores().chrf
}

/// `part` of `whole` in percent; of nothing it is 0.
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
