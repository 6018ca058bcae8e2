//! See et al., "Get To The Point: Summarization with Pointer-Generator Networks" (2017), section 2.3, equations 10 and 12.

use super::expect_shape;

/// `loss = scale * sum over b, t, s of min(w[b, t, s], c[b, t, s])`, where the coverage c is the sum of the weights that position
/// s had before t. Steps whose target is padding do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoverageLoss {
    /// Rows, B.
    pub batch: usize,
    /// Target steps, T.
    pub steps: usize,
    /// Source steps, S.
    pub keys: usize,
    /// What the sum is multiplied with.
    pub scale: f64,
    /// The target that is padding.
    pub padding: u32,
}

impl CoverageLoss {
    /// For one row and source position the indices of the weights that count, in time.
    fn column(&self, b: usize, s: usize, targets: &[u32]) -> Vec<usize> {
        let rows = (b * self.steps..(b + 1) * self.steps).filter(|row| targets[*row] != self.padding);
        rows.map(|row| row * self.keys + s).collect()
    }

    fn check(&self, weights: &[f64], targets: &[u32]) {
        expect_shape("weights", weights, &[self.batch, self.steps, self.keys]);
        expect_shape("targets", targets, &[self.batch, self.steps]);
    }

    /// The loss from weights `[B, T, S]` and targets `[B, T]`.
    pub fn forward(&self, weights: &[f64], targets: &[u32]) -> f64 {
        self.check(weights, targets);
        let mut sum = 0.0;
        for b in 0..self.batch {
            for s in 0..self.keys {
                let mut coverage = 0.0;
                for at in self.column(b, s, targets) {
                    sum += weights[at].min(coverage);
                    coverage += weights[at];
                }
            }
        }
        self.scale * sum
    }

    /// d_weights `[B, T, S]`. Where a weight equals its coverage, the gradient is the coverage's.
    pub fn backward(&self, weights: &[f64], targets: &[u32], d_loss: f64) -> Vec<f64> {
        self.check(weights, targets);
        let mut d_weights = vec![0.0; weights.len()];
        for b in 0..self.batch {
            for s in 0..self.keys {
                let column = self.column(b, s, targets);
                for (t, &at) in column.iter().enumerate() {
                    let coverage: f64 = column[..t].iter().map(|&earlier| weights[earlier]).sum();
                    if weights[at] < coverage {
                        d_weights[at] += d_loss * self.scale;
                    } else {
                        column[..t].iter().for_each(|&earlier| d_weights[earlier] += d_loss * self.scale);
                    }
                }
            }
        }
        d_weights
    }
}
