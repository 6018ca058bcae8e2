//! How good hypotheses are, against one or several references each. All rates are in percent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
};

use super::Pair;
use crate::{Error, Result};

/// The longest n-gram that [`bleu`] counts.
const MAX_ORDER: usize = 4;
/// The longest run of characters that [`chrf`] counts.
const CHARACTERS: usize = 6;
/// How many times as much recall weighs in [`chrf`] as precision.
const BETA: f64 = 2.0;

/// The references of every distinct source, as tokens.
pub type References = BTreeMap<String, Vec<Vec<String>>>;

/// What [`score`] finds. All but `count` are percentages.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Scores {
    /// The share of distinct sources whose hypothesis equals one of its references.
    pub exact_match: f64,
    /// Edits to the nearest references per token of those (phoneme error rate on g2p). Can pass 100.
    pub per: f64,
    /// The share of distinct sources whose hypothesis equals none of its references (word error rate on g2p).
    pub wer: f64,
    /// Corpus BLEU over the same sources.
    pub bleu: f64,
    /// Corpus chrF2 over the same sources.
    pub chrf: f64,
    /// How many distinct sources were scored.
    pub count: usize,
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
    let mut seen = HashSet::new();
    let mut segments: Vec<Segment> = Vec::new();
    for (source, hypothesis) in items {
        if !seen.insert(source) {
            continue;
        }
        match references.get(source) {
            Some(answers) if !answers.is_empty() => segments.push((hypothesis, answers)),
            _ => return Err(Error::data("scores", format!("the source `{source}` has no reference; add its target"))),
        }
    }
    if segments.is_empty() {
        return Err(Error::data("scores", "there are no hypotheses to score; give at least one"));
    }
    let wer = word_error_rate(&segments);
    Ok(Scores {
        exact_match: 100.0 - wer,
        per: token_error_rate(&segments),
        wer,
        bleu: bleu(&segments),
        chrf: chrf(&segments),
        count: segments.len(),
    })
}

/// A hypothesis and its references.
pub type Segment<'a> = (&'a [String], &'a [Vec<String>]);

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
pub fn word_error_rate(segments: &[Segment]) -> f64 {
    let wrong =
        segments.iter().filter(|(hypothesis, answers)| !answers.iter().any(|answer| answer == hypothesis)).count();
    percent(wrong, segments.len())
}

/// The sum of edits to each nearest reference (fewest edits; of equals the longer) over the sum of those references'
/// lengths, in percent. Segments without references do not count; without any reference token it is 0 or, where there
/// are edits, 100.
pub fn token_error_rate(segments: &[Segment]) -> f64 {
    let (mut edits, mut length) = (0, 0);
    for (hypothesis, answers) in segments {
        let distances = answers.iter().map(|answer| (edit_distance(hypothesis, answer), answer.len()));
        if let Some((fewest, longest)) = distances.min_by_key(|&(edits, length)| (edits, std::cmp::Reverse(length))) {
            edits += fewest;
            length += longest;
        }
    }
    if length == 0 && edits > 0 { 100.0 } else { percent(edits, length) }
}

/// Corpus BLEU in percent (Papineni et al., 2002) on the given tokens: up to 4-grams, counts clipped by the most that
/// any one reference has, brevity penalty from the closest reference length (of equals the shorter), and sacreBLEU's
/// `exp` smoothing: the k-th order without a match counts as 1 / 2^k matches.
///
/// As in sacreBLEU it is 0 without any match, and where no hypothesis has four tokens.
pub fn bleu(segments: &[Segment]) -> f64 {
    let mut matches = [0_usize; MAX_ORDER];
    let mut totals = [0_usize; MAX_ORDER];
    let (mut hypothesis_length, mut reference_length) = (0, 0);
    for (hypothesis, answers) in segments {
        hypothesis_length += hypothesis.len();
        let lengths = answers.iter().map(Vec::len);
        reference_length += lengths.min_by_key(|&length| (length.abs_diff(hypothesis.len()), length)).unwrap_or(0);
        for ((order, matched), total) in (1..).zip(&mut matches).zip(&mut totals) {
            let mut allowed: HashMap<&[String], usize> = HashMap::new();
            for answer in answers.iter() {
                for (gram, count) in ngrams(answer, order) {
                    let most = allowed.entry(gram).or_default();
                    *most = count.max(*most);
                }
            }
            for (gram, count) in ngrams(hypothesis, order) {
                *total += count;
                *matched += count.min(allowed.get(gram).copied().unwrap_or(0));
            }
        }
    }
    if matches == [0; MAX_ORDER] || totals.contains(&0) {
        return 0.0;
    }
    let mut smoothing = 1.0;
    let log_precision: f64 = matches
        .iter()
        .zip(&totals)
        .map(|(&matched, &total)| {
            if matched > 0 {
                (matched as f64 / total as f64).ln()
            } else {
                smoothing *= 2.0;
                (1.0 / (smoothing * total as f64)).ln()
            }
        })
        .sum();
    // At least 1 past the check above: a total is not 0.
    let brevity = (1.0 - reference_length as f64 / hypothesis_length as f64).min(0.0);
    100.0 * (brevity + log_precision / MAX_ORDER as f64).exp()
}

/// Runs of one length: in the hypothesis, in the reference, and in both.
type Runs = [usize; 3];

/// Corpus chrF2 in percent (Popović, "chrF: character n-gram F-score", 2015): runs of up to six characters, white space left
/// out, recall weighing twice as much as precision, of several references the one that the hypothesis is closest to. As in
/// sacreBLEU, orders that the hypothesis or the reference is too short for do not count.
pub fn chrf(segments: &[Segment]) -> f64 {
    let mut sums = [[0_usize; 3]; CHARACTERS];
    for (hypothesis, answers) in segments {
        let hypothesis = characters(hypothesis);
        let mut best: Option<(f64, [Runs; CHARACTERS])> = None;
        for answer in answers.iter() {
            let runs = shared_runs(&hypothesis, &characters(answer));
            let score = f_score(&runs);
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, runs));
            }
        }
        if let Some((_, runs)) = best {
            sums.iter_mut().zip(runs).for_each(|(sum, runs)| sum.iter_mut().zip(runs).for_each(|(sum, n)| *sum += n));
        }
    }
    f_score(&sums)
}

fn characters(tokens: &[String]) -> Vec<char> {
    tokens.iter().flat_map(|token| token.chars()).filter(|c| !c.is_whitespace()).collect()
}

fn shared_runs(hypothesis: &[char], answer: &[char]) -> [Runs; CHARACTERS] {
    std::array::from_fn(|index| {
        let (ours, theirs) = (ngrams(hypothesis, index + 1), ngrams(answer, index + 1));
        let both = ours.iter().map(|(gram, count)| *count.min(theirs.get(gram).unwrap_or(&0))).sum();
        // As sacreBLEU counts: a run as long as no run of the reference is not held against the hypothesis.
        let judged = if theirs.is_empty() { 0 } else { ours.values().sum() };
        [judged, theirs.values().sum(), both]
    })
}

/// The F-score of the mean precision and the mean recall.
fn f_score(runs: &[Runs; CHARACTERS]) -> f64 {
    let rates: Vec<_> = runs
        .iter()
        .filter(|[ours, theirs, _]| *ours > 0 && *theirs > 0)
        .map(|[ours, theirs, both]| (*both as f64 / *ours as f64, *both as f64 / *theirs as f64))
        .collect();
    let mean = |rate: fn(&(f64, f64)) -> f64| rates.iter().map(rate).sum::<f64>() / rates.len().max(1) as f64;
    let (precision, recall) = (mean(|rates| rates.0), mean(|rates| rates.1));
    let weighted = BETA * BETA * precision + recall;
    if weighted == 0.0 { 0.0 } else { 100.0 * (1.0 + BETA * BETA) * precision * recall / weighted }
}

/// How often each run of `order` tokens occurs.
fn ngrams<T: Eq + Hash>(tokens: &[T], order: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// `part` of `whole` in percent; of nothing it is 0.
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
