//! Positions: the vector of each row's place in its text, added to the row (Vaswani et al. 2017, section 3.5).

use super::{add_scaled, expect_shape};

/// `y[b, t] = factor * x[b, t] + table[first + t]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positions {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Places of a row, T.
    pub steps: usize,
    /// Size of a vector, D.
    pub size: usize,
    /// The row of the table that is the first place's.
    pub first: usize,
    /// The factor on x.
    pub factor: f64,
}

impl Positions {
    /// y `[B, T, D]` from x `[B, T, D]` and the table `[P, D]`.
    pub fn forward(&self, x: &[f64], table: &[f64]) -> Vec<f64> {
        expect_shape("x", x, &[self.batch, self.steps, self.size]);
        let vectors = &table[self.first * self.size..][..self.steps * self.size];
        let row = |row: &[f64]| -> Vec<f64> { row.iter().zip(vectors).map(|(x, p)| self.factor * x + p).collect() };
        x.chunks(self.steps * self.size).flat_map(row).collect()
    }

    /// The gradients of x `[B, T, D]` and of the table `[places, D]`.
    pub fn backward(&self, places: usize, d_y: &[f64]) -> (Vec<f64>, Vec<f64>) {
        expect_shape("d_y", d_y, &[self.batch, self.steps, self.size]);
        let mut d_table = vec![0.0; places * self.size];
        for row in d_y.chunks(self.steps * self.size) {
            add_scaled(&mut d_table[self.first * self.size..][..row.len()], 1.0, row);
        }
        (d_y.iter().map(|d_y| self.factor * d_y).collect(), d_table)
    }
}
