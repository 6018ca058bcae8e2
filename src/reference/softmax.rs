//! Softmax over the valid prefix of each row.

use super::{Real, dot, expect_lengths, expect_shape};

/// `y[r, c] = exp(x[r, c]) / sum over c' of exp(x[r, c'])`, over the first `lengths[r]` columns of row `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row, masked ones included.
    pub columns: usize,
}

impl Softmax {
    /// y `[rows, columns]` from x `[rows, columns]` and the rows' valid lengths `[rows]` (all columns where `None`).
    ///
    /// Masked elements are 0, whatever x holds there; a row without any valid element is all zeros.
    pub fn forward(&self, x: &[f64], lengths: Option<&[u32]>) -> Vec<f64> {
        expect_shape("x", x, &[self.rows, self.columns]);
        if let Some(lengths) = lengths {
            expect_lengths(lengths, self.rows, self.columns);
        }
        let mut y = vec![0.0; x.len()];
        for row in 0..self.rows {
            let start = row * self.columns;
            let length = lengths.map_or(self.columns, |lengths| lengths[row] as usize);
            y[start..start + length].copy_from_slice(&softmax(&x[start..start + length]));
        }
        y
    }

    /// d_x `[rows, columns]` from the outputs y and their gradient d_y. It needs no lengths: where y is 0, so is d_x.
    pub fn backward(&self, y: &[f64], d_y: &[f64]) -> Vec<f64> {
        expect_shape("y", y, &[self.rows, self.columns]);
        expect_shape("d_y", d_y, &[self.rows, self.columns]);
        let mut d_x = Vec::with_capacity(y.len());
        for row in 0..self.rows {
            let range = row * self.columns..(row + 1) * self.columns;
            d_x.extend(softmax_backward(&y[range.clone()], &d_y[range]));
        }
        d_x
    }
}

/// Softmax of one row without masked elements. A row of nothing but -infinity has no maximum to subtract: it counts as
/// masked, and is all zeros instead of NaN.
pub(super) fn softmax<R: Real>(x: &[R]) -> Vec<R> {
    let maximum = x.iter().map(|x| x.value()).fold(f64::NEG_INFINITY, f64::max);
    if maximum == f64::NEG_INFINITY {
        return vec![R::from(0.0); x.len()];
    }
    let exponentials: Vec<R> = x.iter().map(|x| (*x - R::from(maximum)).exp()).collect();
    let sum: R = exponentials.iter().copied().sum();
    exponentials.iter().map(|e| *e / sum).collect()
}

/// `d_x = y * (d_y - y · d_y)` of one row.
pub(super) fn softmax_backward<R: Real>(y: &[R], d_y: &[R]) -> Vec<R> {
    let mean = dot(y, d_y);
    y.iter().zip(d_y).map(|(y, d_y)| *y * (*d_y - mean)).collect()
}

/// `log(sum of exp(x))` of one row, which must not be empty.
pub(super) fn log_sum_exp(x: &[f64]) -> f64 {
    let maximum = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    maximum + x.iter().map(|x| (x - maximum).exp()).sum::<f64>().ln()
}
