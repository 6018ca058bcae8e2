//! Sums over a whole tensor or over its rows.

use super::{add_scaled, expect_shape};

/// The sum of all elements.
pub fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

/// Gradient of [`sum`] over `len` elements from the sum's gradient `d`.
pub fn sum_backward(len: usize, d: f64) -> Vec<f64> {
    vec![d; len]
}

/// The sum of the squares of all elements: the square of the norm that gradient clipping needs.
pub fn sum_of_squares(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// Gradient of [`sum_of_squares`] from the sum's gradient `d`.
pub fn sum_of_squares_backward(x: &[f64], d: f64) -> Vec<f64> {
    x.iter().map(|x| 2.0 * x * d).collect()
}

/// The sum `[columns]` of the rows of x `[rows, columns]`: the gradient of a bias.
pub fn column_sum(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    expect_shape("x", x, &[rows, columns]);
    let mut y = vec![0.0; columns];
    for row in 0..rows {
        add_scaled(&mut y, 1.0, &x[row * columns..][..columns]);
    }
    y
}

/// Gradient `[rows, columns]` of [`column_sum`] from the sums' gradient `d` `[columns]`.
pub fn column_sum_backward(rows: usize, columns: usize, d: &[f64]) -> Vec<f64> {
    expect_shape("d", d, &[columns]);
    d.repeat(rows)
}
