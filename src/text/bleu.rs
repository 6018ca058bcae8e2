//! Corpus BLEU (Papineni et al., 2002), as sacreBLEU counts it.

use std::collections::HashMap;
use std::ops::AddAssign;

use super::segment::{Segment, ngrams};

/// The longest n-gram that counts.
const MAX_ORDER: usize = 4;

/// The contribution of segments to corpus BLEU: counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bleu {
    matches: [usize; MAX_ORDER],
    totals: [usize; MAX_ORDER],
    hypothesis: usize,
    reference: usize,
}

impl Bleu {
    pub fn of((hypothesis, answers): Segment) -> Self {
        let lengths = answers.iter().map(Vec::len);
        let mut counts = Self {
            hypothesis: hypothesis.len(),
            reference: lengths.min_by_key(|&length| (length.abs_diff(hypothesis.len()), length)).unwrap_or(0),
            ..Self::default()
        };
        for ((order, matched), total) in (1..).zip(&mut counts.matches).zip(&mut counts.totals) {
            let mut allowed: HashMap<&[String], usize> = HashMap::new();
            for answer in answers {
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
        counts
    }

    pub fn score(&self) -> f64 {
        if self.matches == [0; MAX_ORDER] || self.totals.contains(&0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let log_precision: f64 = self
            .matches
            .iter()
            .zip(&self.totals)
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
        let brevity = (1.0 - self.reference as f64 / self.hypothesis as f64).min(0.0);
        100.0 * (brevity + log_precision / MAX_ORDER as f64).exp()
    }
}

impl AddAssign for Bleu {
    fn add_assign(&mut self, other: Self) {
        self.matches.iter_mut().zip(other.matches).for_each(|(sum, count)| *sum += count);
        self.totals.iter_mut().zip(other.totals).for_each(|(sum, count)| *sum += count);
        self.hypothesis += other.hypothesis;
        self.reference += other.reference;
    }
}
