//! Cross-entropy of logits against target tokens, with label smoothing: Szegedy et al., "Rethinking the Inception
//! Architecture for Computer Vision" (2016), section 7, in the form of PyTorch. And against the mean distribution of teachers: Kim
//! and Rush, "Sequence-Level Knowledge Distillation" (2016), section 3.1.

use super::expect_shape;
use super::softmax::{log_sum_exp, softmax};

/// ```text
/// loss = scale * sum over rows with target != padding of
///        - sum over c of ((1 - smoothing) * [c = target] + smoothing * [c >= impossible] / (C - impossible)) * log_softmax(logits)[c]
/// ```
///
/// The smoothing spreads over all classes but the impossible ones, padding's own included, as in PyTorch. A `scale` of one over
/// the number of rows that count makes it PyTorch's mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Rows, padding included.
    pub rows: usize,
    /// Classes, C.
    pub classes: usize,
    /// Share of the target distribution that is spread evenly, in `[0, 1]`.
    pub smoothing: f64,
    /// The number of classes, before all others, that no target is, and that have no part of the smoothing.
    pub impossible: usize,
    /// Factor of the whole loss.
    pub scale: f64,
    /// The target that is padding: such a row adds nothing to the loss and has no gradient.
    pub padding: u32,
}

impl CrossEntropy {
    fn check(&self, logits: &[f64], targets: &[u32]) {
        expect_shape("logits", logits, &[self.rows, self.classes]);
        expect_shape("targets", targets, &[self.rows]);
        for (row, &target) in targets.iter().enumerate() {
            assert!((target as usize) < self.classes, "targets[{row}] is {target}, classes are {}", self.classes);
        }
    }

    fn expected(&self, target: u32, class: usize) -> f64 {
        let hit = if class == target as usize { 1.0 - self.smoothing } else { 0.0 };
        let possible = class >= self.impossible;
        hit + if possible { self.smoothing / (self.classes - self.impossible) as f64 } else { 0.0 }
    }

    /// The loss, from logits `[rows, classes]` and targets `[rows]`.
    pub fn forward(&self, logits: &[f64], targets: &[u32]) -> f64 {
        self.check(logits, targets);
        let mut loss = 0.0;
        for row in 0..self.rows {
            if targets[row] == self.padding {
                continue;
            }
            let logits = &logits[row * self.classes..][..self.classes];
            let denominator = log_sum_exp(logits);
            for class in 0..self.classes {
                loss += self.expected(targets[row], class) * (denominator - logits[class]);
            }
        }
        self.scale * loss
    }

    /// The logits' gradient `[rows, classes]` from the loss's, `d_loss`.
    pub fn backward(&self, logits: &[f64], targets: &[u32], d_loss: f64) -> Vec<f64> {
        self.check(logits, targets);
        let mut d_logits = vec![0.0; logits.len()];
        for row in 0..self.rows {
            if targets[row] == self.padding {
                continue;
            }
            let range = row * self.classes..(row + 1) * self.classes;
            let probabilities = softmax(&logits[range.clone()]);
            for (class, d_logit) in d_logits[range].iter_mut().enumerate() {
                *d_logit = self.scale * d_loss * (probabilities[class] - self.expected(targets[row], class));
            }
        }
        d_logits
    }
}

/// A loss of which teachers have a part:
///
/// ```text
/// (1 - weight) * loss + weight * scale * sum over rows with target != padding of
///        log_sum_exp(logits) - sum over c of mean[c] * logits[c]
/// ```
///
/// which is the cross-entropy against their distribution, as that adds up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taught<'a> {
    /// The loss of the targets alone.
    pub loss: CrossEntropy,
    /// The mean of the teachers' distributions, `[rows, classes]`.
    pub mean: &'a [f64],
    /// What it counts, in `[0, 1]`.
    pub weight: f64,
}

impl Taught<'_> {
    fn check(&self) {
        expect_shape("mean", self.mean, &[self.loss.rows, self.loss.classes]);
    }

    /// The loss, from logits `[rows, classes]` and targets `[rows]`.
    pub fn forward(&self, logits: &[f64], targets: &[u32]) -> f64 {
        self.check();
        let CrossEntropy { classes, padding, scale, .. } = self.loss;
        let mut taught = 0.0;
        for (row, _) in targets.iter().enumerate().filter(|(_, target)| **target != padding) {
            let logits = &logits[row * classes..][..classes];
            let mean = &self.mean[row * classes..][..classes];
            taught += log_sum_exp(logits) - mean.iter().zip(logits).map(|(mean, logit)| mean * logit).sum::<f64>();
        }
        (1.0 - self.weight) * self.loss.forward(logits, targets) + self.weight * scale * taught
    }

    /// The logits' gradient `[rows, classes]` from the loss's, `d_loss`.
    pub fn backward(&self, logits: &[f64], targets: &[u32], d_loss: f64) -> Vec<f64> {
        self.check();
        let CrossEntropy { classes, padding, scale, .. } = self.loss;
        let mut d_logits = self.loss.backward(logits, targets, (1.0 - self.weight) * d_loss);
        for (row, _) in targets.iter().enumerate().filter(|(_, target)| **target != padding) {
            let range = row * classes..(row + 1) * classes;
            let probabilities = softmax(&logits[range.clone()]);
            let mean = &self.mean[range.clone()];
            for (class, d_logit) in d_logits[range].iter_mut().enumerate() {
                *d_logit += self.weight * scale * d_loss * (probabilities[class] - mean[class]);
            }
        }
        d_logits
    }
}
