//! Chen et al., "Guided Alignment Training for Topic-Aware Neural Machine Translation" (2016): the cross-entropy of the
//! attention's weights against a given alignment.

use super::expect_shape;

/// Added to weights, so that the logarithm of 0 is finite.
const FLOOR: f64 = 1e-6;

/// `loss = - scale * sum of expected * log(weights + 1e-6)`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlignmentLoss {
    /// Elements of weights and expected, `[B, T, S]`.
    pub elements: usize,
    /// What the sum is multiplied with: the loss's weight over the number of target tokens that have links.
    pub scale: f64,
}

impl AlignmentLoss {
    /// The loss from weights and expected, both `[B, T, S]`.
    pub fn forward(&self, weights: &[f64], expected: &[f64]) -> f64 {
        expect_shape("weights", weights, &[self.elements]);
        expect_shape("expected", expected, &[self.elements]);
        let terms = weights.iter().zip(expected).filter(|(_, expected)| **expected > 0.0);
        -self.scale * terms.map(|(weight, expected)| expected * (weight + FLOOR).ln()).sum::<f64>()
    }

    /// d_weights `[B, T, S]`.
    pub fn backward(&self, weights: &[f64], expected: &[f64], d_loss: f64) -> Vec<f64> {
        let of = |(weight, expected): (&f64, &f64)| {
            if *expected > 0.0 { -d_loss * self.scale * expected / (weight + FLOOR) } else { 0.0 }
        };
        weights.iter().zip(expected).map(of).collect()
    }
}
