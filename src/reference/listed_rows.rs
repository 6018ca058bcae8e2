//! A few rows of each sequence, by a list of their positions: taken out, and put back.

use super::expect_shape;

/// Rows at `positions` `[B, G]`; those of T or more are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedRows {
    /// Sequences, B.
    pub batch: usize,
    /// Rows of a sequence, T.
    pub steps: usize,
    /// Positions of a sequence, G.
    pub listed: usize,
    /// Size of a row, D.
    pub size: usize,
}

impl ListedRows {
    /// `y[b, g] = x[b, positions[b, g]]`, `[B, G, D]` of `x` `[B, T, D]`; a row of 0 for a position that is none.
    pub fn forward(&self, x: &[f64], positions: &[u32]) -> Vec<f64> {
        expect_shape("x", x, &[self.batch, self.steps, self.size]);
        expect_shape("positions", positions, &[self.batch, self.listed]);
        let mut y = vec![0.0; self.batch * self.listed * self.size];
        for (row, position) in self.rows(positions) {
            y[row * self.size..][..self.size].copy_from_slice(&x[position * self.size..][..self.size]);
        }
        y
    }

    /// `[B, T, D]`: `base` `[B, T, D]`, but at the positions the rows `[B, G, D]`.
    pub fn put(&self, base: &[f64], rows: &[f64], positions: &[u32]) -> Vec<f64> {
        expect_shape("base", base, &[self.batch, self.steps, self.size]);
        expect_shape("rows", rows, &[self.batch, self.listed, self.size]);
        expect_shape("positions", positions, &[self.batch, self.listed]);
        let mut y = base.to_vec();
        for (row, position) in self.rows(positions) {
            y[position * self.size..][..self.size].copy_from_slice(&rows[row * self.size..][..self.size]);
        }
        y
    }

    /// d_x `[B, T, D]` of [`ListedRows::forward`] from d_y `[B, G, D]`.
    pub fn backward(&self, d_y: &[f64], positions: &[u32]) -> Vec<f64> {
        self.put(&vec![0.0; self.batch * self.steps * self.size], d_y, positions)
    }

    /// d_base `[B, T, D]` and d_rows `[B, G, D]` of [`ListedRows::put`] from d_y `[B, T, D]`.
    pub fn put_backward(&self, d_y: &[f64], positions: &[u32]) -> [Vec<f64>; 2] {
        let nothing = vec![0.0; self.batch * self.listed * self.size];
        [self.put(d_y, &nothing, positions), self.forward(d_y, positions)]
    }

    /// Numbers of the listed rows that are there, and of the rows of all sequences that they are.
    fn rows(&self, positions: &[u32]) -> impl Iterator<Item = (usize, usize)> {
        let Self { steps, listed, .. } = *self;
        let numbered = positions.iter().map(|position| *position as usize).enumerate();
        numbered
            .filter(move |(_, position)| *position < steps)
            .map(move |(row, position)| (row, row / listed * steps + position))
    }
}
