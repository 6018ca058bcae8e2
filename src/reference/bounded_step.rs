//! Steps of parameters between bounds.

/// `x = min(max(before + (high - low) * (x - before), low), high)`, element by element.
pub fn bounded_step([low, high]: [f64; 2], before: &[f64], x: &[f64]) -> Vec<f64> {
    before.iter().zip(x).map(|(before, x)| (before + (high - low) * (x - before)).clamp(low, high)).collect()
}
