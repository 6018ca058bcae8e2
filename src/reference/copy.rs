//! A copy of a batch of matrices.

use super::{expect_lengths, expect_shape};

/// `y[b, r, c] = x[b, r, c]`, or 0 where `r` is at or past the length of `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Number of matrices.
    pub batch: usize,
}

impl Copy {
    /// y `[batch, rows, columns]` from x of the same shape and, if given, lengths `[batch]`.
    pub fn forward(&self, x: &[f64], lengths: Option<&[u32]>) -> Vec<f64> {
        expect_shape("x", x, &[self.batch, self.rows, self.columns]);
        let mut y = x.to_vec();
        if let Some(lengths) = lengths {
            expect_lengths(lengths, self.batch, self.rows);
            for b in 0..self.batch {
                let matrix = &mut y[b * self.rows * self.columns..][..self.rows * self.columns];
                matrix[lengths[b] as usize * self.columns..].fill(0.0);
            }
        }
        y
    }

    /// The gradient of x from `d_y`: the same copy.
    pub fn backward(&self, d_y: &[f64], lengths: Option<&[u32]>) -> Vec<f64> {
        self.forward(d_y, lengths)
    }
}
