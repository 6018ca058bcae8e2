//! Gradients of the CPU reference against central differences.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Inputs for a reference.
pub struct Random(ChaCha8Rng);

impl Random {
    /// Always the same numbers for a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Numbers in (-1.5, 1.5).
    pub fn tensor(&mut self, shape: &[usize]) -> Vec<f64> {
        (0..shape.iter().product()).map(|_| self.0.random_range(-1.5..1.5)).collect()
    }
}

/// The sum of the products.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts that no element is farther from its expectation than `tolerance`.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Written so that NaN fails.
        assert!((found - expected).abs() <= tolerance, "{what}[{i}]: found {found}, expected {expected}");
    }
}

/// Compares gradients with central differences of `objective`, which maps all inputs to one number (as a rule the
/// outputs' product with a random upstream gradient). `gradients` names and holds one gradient per input.
pub fn check_gradients(
    case: &str,
    inputs: &[Vec<f64>],
    objective: impl Fn(&[Vec<f64>]) -> f64,
    gradients: &[(&str, &[f64])],
) {
    const STEP: f64 = 1e-5;
    // Differences cancel to about 1e-10 here; below this size an error relative to the element would measure only that.
    const SMALL: f64 = 1e-2;
    assert_eq!(inputs.len(), gradients.len(), "{case}: one gradient per input");
    let mut inputs = inputs.to_vec();
    for (operand, (name, gradient)) in gradients.iter().enumerate() {
        assert_eq!(gradient.len(), inputs[operand].len(), "{case}: shape of the gradient of {name}");
        for i in 0..gradient.len() {
            let x = inputs[operand][i];
            inputs[operand][i] = x + STEP;
            let above = objective(&inputs);
            inputs[operand][i] = x - STEP;
            let below = objective(&inputs);
            inputs[operand][i] = x;
            let (found, expected) = (gradient[i], (above - below) / (2.0 * STEP));
            let error = (found - expected).abs() / found.abs().max(expected.abs()).max(SMALL);
            assert!(error < 1e-6, "{case}, {name}[{i}]: found {found}, central difference {expected}");
        }
    }
}
