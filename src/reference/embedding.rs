//! Rows of a table, by token.

use super::{add_scaled, expect_shape};

/// `y[n] = table[tokens[n]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Rows of the table, V.
    pub vocabulary: usize,
    /// Size of one row, E.
    pub size: usize,
    /// The token whose row receives no gradient.
    pub padding: Option<u32>,
}

impl Embedding {
    /// y `[N, E]` from the table `[V, E]` and tokens `[N]`, each below V.
    pub fn forward(&self, table: &[f64], tokens: &[u32]) -> Vec<f64> {
        expect_shape("table", table, &[self.vocabulary, self.size]);
        tokens.iter().flat_map(|&token| &table[token as usize * self.size..][..self.size]).copied().collect()
    }

    /// The table's gradient `[V, E]` from d_y `[N, E]`: a token that occurs several times collects every occurrence.
    pub fn backward(&self, tokens: &[u32], d_y: &[f64]) -> Vec<f64> {
        expect_shape("d_y", d_y, &[tokens.len(), self.size]);
        let mut d_table = vec![0.0; self.vocabulary * self.size];
        for (n, &token) in tokens.iter().enumerate().filter(|(_, token)| Some(**token) != self.padding) {
            add_scaled(
                &mut d_table[token as usize * self.size..][..self.size],
                1.0,
                &d_y[n * self.size..][..self.size],
            );
        }
        d_table
    }
}
