//! The gated linear unit: Dauphin, Fan, Auli and Grangier, "Language Modeling with Gated Convolutional Networks" (2017), section 2.

use super::{expect_shape, sigmoid};

/// `y[r, c] = x[r, c] sigmoid(x[r, columns + c])`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glu {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row of y: half of those of a row of x.
    pub columns: usize,
}

impl Glu {
    /// y `[rows, columns]` from x `[rows, 2 columns]`.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        expect_shape("x", x, &[self.rows, 2 * self.columns]);
        let rows = x.chunks(2 * self.columns).map(|row| row.split_at(self.columns));
        rows.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * sigmoid(*b))).collect()
    }

    /// d_x `[rows, 2 columns]` from x and d_y `[rows, columns]`.
    pub fn backward(&self, x: &[f64], d_y: &[f64]) -> Vec<f64> {
        expect_shape("x", x, &[self.rows, 2 * self.columns]);
        expect_shape("d_y", d_y, &[self.rows, self.columns]);
        let mut d_x = Vec::with_capacity(x.len());
        for (row, d_y) in x.chunks(2 * self.columns).zip(d_y.chunks(self.columns)) {
            let (a, b) = row.split_at(self.columns);
            d_x.extend(d_y.iter().zip(b).map(|(d, b)| d * sigmoid(*b)));
            d_x.extend((0..self.columns).map(|c| d_y[c] * a[c] * sigmoid(b[c]) * sigmoid(-b[c])));
        }
        d_x
    }
}
