//! Confidence intervals of scores over the choice of sentences (Koehn, "Statistical significance tests for machine
//! translation evaluation", 2004, section 3).

use std::ops::AddAssign;

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The share of resamples that lie past each end of an interval: 95 % lie between.
const PAST: f64 = 0.025;

/// From the lowest to the highest score, of the middle 95 % of the resamples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The intervals of corpus scores: of `resamples` corpora of as many items, each drawn from `items` with replacement and
/// scored by the sum of what its items add. The same seed draws the same items.
///
/// Without items or resamples, intervals are the score of nothing.
pub fn bootstrap<S: Copy + Default + AddAssign, const N: usize>(
    items: &[S],
    resamples: usize,
    seed: u64,
    scores: impl Fn(&S) -> [f64; N],
) -> [Interval; N] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(resamples));
    for _ in 0..resamples {
        let mut sum = S::default();
        for _ in items {
            if let Some(item) = items.get(rng.random_range(0..items.len())) {
                sum += *item;
            }
        }
        found.iter_mut().zip(scores(&sum)).for_each(|(all, score)| all.push(score));
    }
    let past = (PAST * resamples as f64) as usize;
    let nothing = scores(&S::default());
    let mut number = 0..;
    found.map(|mut all| {
        all.sort_by(f64::total_cmp);
        let default = number.next().and_then(|index: usize| nothing.get(index)).copied().unwrap_or(0.0);
        let at = |place: Option<usize>| place.and_then(|place| all.get(place)).copied().unwrap_or(default);
        Interval { low: at(Some(past)), high: at(all.len().checked_sub(past + 1)) }
    })
}
