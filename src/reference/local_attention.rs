//! Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation" (2015), section 3: alignment
//! weights from scores, over the whole source or a window of it.

use super::softmax::{softmax, softmax_backward};
use super::{expect_lengths, expect_shape};

/// Which source positions a step sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// All that are valid.
    Global,
    /// `|s - p| <= half_width` around `p = min(first + t, length - 1)`.
    Monotonic {
        /// The paper's D.
        half_width: f64,
        /// The number of the first query's step.
        first: usize,
    },
    /// The same for queries that are all of one step: `p = min(step, length - 1)`.
    Counted {
        /// The paper's D.
        half_width: f64,
        /// The number of the step.
        step: usize,
    },
    /// `|s - p| <= half_width` around `p = length * share`, and a Gaussian around p with `half_width / 2` as its deviation.
    Predicted {
        /// The paper's D.
        half_width: f64,
    },
}

/// `weights[b, t, s] = softmax of scores[b, t] over the positions that are seen, at s, times the Gaussian`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps per row, T.
    pub queries: usize,
    /// Source positions per row, S, masked ones included.
    pub keys: usize,
    /// Scores of a step; positions past them are not seen.
    pub columns: usize,
    /// What a step sees.
    pub window: Window,
}

impl LocalAttention {
    /// The centre of a step's window.
    fn centre(&self, t: usize, length: usize, share: f64) -> f64 {
        match self.window {
            Window::Global => 0.0,
            Window::Monotonic { first, .. } => (first + t).min(length.max(1) - 1) as f64,
            Window::Counted { step, .. } => step.min(length.max(1) - 1) as f64,
            Window::Predicted { .. } => length as f64 * share,
        }
    }

    /// The positions that a step sees.
    fn seen(&self, length: usize, centre: f64) -> Vec<usize> {
        let sees = |s: &usize| match self.window {
            Window::Global => true,
            Window::Monotonic { half_width, .. }
            | Window::Counted { half_width, .. }
            | Window::Predicted { half_width } => (*s as f64 - centre).abs() <= half_width,
        };
        (0..length.min(self.columns)).filter(sees).collect()
    }

    fn gaussian(&self, s: usize, centre: f64) -> f64 {
        match self.window {
            Window::Predicted { half_width } => {
                let deviation = half_width / 2.0;
                (-(s as f64 - centre).powi(2) / (2.0 * deviation * deviation)).exp()
            }
            _ => 1.0,
        }
    }

    /// Of each step of each row: its number in the batch, its centre, and its row's length.
    fn steps<'a>(&self, shares: &'a [f64], lengths: &'a [u32]) -> impl Iterator<Item = (usize, f64, usize)> + use<'a> {
        let this = *self;
        (0..self.batch * self.queries).map(move |row| {
            let length = lengths[row / this.queries] as usize;
            (row, this.centre(row % this.queries, length, shares.get(row).copied().unwrap_or(0.0)), length)
        })
    }

    fn check(&self, scores: &[f64], shares: &[f64], lengths: &[u32]) {
        expect_shape("scores", scores, &[self.batch, self.queries, self.columns]);
        if matches!(self.window, Window::Predicted { .. }) {
            expect_shape("shares", shares, &[self.batch, self.queries]);
        }
        expect_lengths(lengths, self.batch, self.keys);
    }

    /// The weights `[B, T, S]` and the centres of the windows `[B, T]` from scores `[B, T, columns]`, lengths `[B]` and, where
    /// centres are predicted, shares `[B, T]`.
    pub fn forward(&self, scores: &[f64], shares: &[f64], lengths: &[u32]) -> (Vec<f64>, Vec<f64>) {
        self.check(scores, shares, lengths);
        let mut weights = vec![0.0; self.batch * self.queries * self.keys];
        let mut centres = Vec::with_capacity(self.batch * self.queries);
        for (row, centre, length) in self.steps(shares, lengths) {
            let seen = self.seen(length, centre);
            let of_seen: Vec<f64> = seen.iter().map(|s| scores[row * self.columns + s]).collect();
            for (s, weight) in seen.into_iter().zip(softmax(&of_seen)) {
                weights[row * self.keys + s] = weight * self.gaussian(s, centre);
            }
            centres.push(centre);
        }
        (weights, centres)
    }

    /// The gradients of scores and shares from `d_weights` `[B, T, S]`. What it holds at positions that are not seen has no effect;
    /// which are seen has no gradient.
    pub fn backward(&self, scores: &[f64], shares: &[f64], lengths: &[u32], d_weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
        self.check(scores, shares, lengths);
        expect_shape("d_weights", d_weights, &[self.batch, self.queries, self.keys]);
        let (mut d_scores, mut d_shares) = (vec![0.0; scores.len()], vec![0.0; shares.len()]);
        for (row, centre, length) in self.steps(shares, lengths) {
            let seen = self.seen(length, centre);
            let of_seen: Vec<f64> = seen.iter().map(|s| scores[row * self.columns + s]).collect();
            let softmax = softmax(&of_seen);
            let d_softmax: Vec<f64> =
                seen.iter().map(|s| d_weights[row * self.keys + s] * self.gaussian(*s, centre)).collect();
            for (s, d_score) in seen.iter().zip(softmax_backward(&softmax, &d_softmax)) {
                d_scores[row * self.columns + s] = d_score;
            }
            if let Window::Predicted { half_width } = self.window {
                let deviation = half_width / 2.0;
                for (i, s) in seen.iter().enumerate() {
                    let slope = (*s as f64 - centre) / (deviation * deviation);
                    d_shares[row] += length as f64 * softmax[i] * d_softmax[i] * slope;
                }
            }
        }
        (d_scores, d_shares)
    }
}
