//! Corpus chrF2 (Popović, "chrF: character n-gram F-score", 2015), as sacreBLEU counts it.

use std::ops::AddAssign;

use super::segment::{Segment, is_space, ngrams};

/// The longest run of characters that counts.
const CHARACTERS: usize = 6;
/// The weight of recall relative to precision.
const BETA: f64 = 2.0;

/// Runs of one length: in the hypothesis, in the reference, and in both.
type Runs = [usize; 3];

/// The contribution of segments to corpus chrF: counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chrf([Runs; CHARACTERS]);

impl Chrf {
    pub fn of((hypothesis, answers): Segment) -> Self {
        let hypothesis = characters(hypothesis);
        let mut best: Option<(f64, Self)> = None;
        for answer in answers {
            let runs = shared_runs(&hypothesis, &characters(answer));
            let score = runs.score();
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, runs));
            }
        }
        best.map(|(_, runs)| runs).unwrap_or_default()
    }

    /// The F-score of the mean precision and the mean recall.
    pub fn score(&self) -> f64 {
        let rates: Vec<_> = self
            .0
            .iter()
            .filter(|[ours, theirs, _]| *ours > 0 && *theirs > 0)
            .map(|[ours, theirs, both]| (*both as f64 / *ours as f64, *both as f64 / *theirs as f64))
            .collect();
        let mean = |rate: fn(&(f64, f64)) -> f64| rates.iter().map(rate).sum::<f64>() / rates.len().max(1) as f64;
        let (precision, recall) = (mean(|rates| rates.0), mean(|rates| rates.1));
        let weighted = BETA * BETA * precision + recall;
        if weighted == 0.0 { 0.0 } else { 100.0 * (1.0 + BETA * BETA) * precision * recall / weighted }
    }
}

impl AddAssign for Chrf {
    fn add_assign(&mut self, other: Self) {
        let counts = self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened());
        counts.for_each(|(sum, count)| *sum += count);
    }
}

fn characters(tokens: &[String]) -> Vec<char> {
    tokens.iter().flat_map(|token| token.chars()).filter(|c| !is_space(*c)).collect()
}

fn shared_runs(hypothesis: &[char], answer: &[char]) -> Chrf {
    Chrf(std::array::from_fn(|index| {
        let (ours, theirs) = (ngrams(hypothesis, index + 1), ngrams(answer, index + 1));
        let both = ours.iter().map(|(gram, count)| *count.min(theirs.get(gram).unwrap_or(&0))).sum();
        // As sacreBLEU counts: a run as long as no run of the reference is not held against the hypothesis.
        let judged = if theirs.is_empty() { 0 } else { ours.values().sum() };
        [judged, theirs.values().sum(), both]
    }))
}
