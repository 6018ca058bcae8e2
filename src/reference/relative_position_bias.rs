//! A learned bias for each bucket of relative positions: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
//! Text-to-Text Transformer" (2020), section 2.1, as T5's code defines the buckets.

use super::expect_shape;

/// `bias[n, s - t + T - 1] = table[bucket of s - t, n]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativePositionBias {
    /// Buckets of both sides together.
    pub buckets: usize,
    /// Whether keys behind the query have buckets of their own.
    pub bidirectional: bool,
    /// The distance from which on all share the last bucket of a side.
    pub farthest: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries, T.
    pub queries: usize,
    /// Keys, S.
    pub keys: usize,
}

impl RelativePositionBias {
    /// The bucket of a key `distance` steps behind the query, in whole numbers: of the far buckets of a side the largest j for which
    /// `(steps / near) ^ far >= (farthest / near) ^ j`.
    pub fn bucket(&self, distance: i64) -> usize {
        let side = if self.bidirectional { self.buckets / 2 } else { self.buckets };
        let behind = if self.bidirectional && distance > 0 { side } else { 0 };
        let steps = if self.bidirectional { distance.abs() } else { (-distance).max(0) } as usize;
        let near = side / 2;
        if steps < near {
            return behind + steps;
        }
        let far = side - near;
        // In logarithms, with room for their rounding: the distances next to an edge differ by far more.
        let reached = |j: &usize| {
            let ratio = |x: usize| (x as f64 / near as f64).log2();
            far as f64 * ratio(steps) - *j as f64 * ratio(self.farthest) > -1e-9
        };
        behind + near + (0..far).rev().find(reached).unwrap_or(0)
    }

    fn distances(&self) -> impl Iterator<Item = i64> {
        1 - self.queries as i64..self.keys as i64
    }

    /// The bias `[N, T + S - 1]` from the table `[buckets, N]`.
    pub fn forward(&self, table: &[f64]) -> Vec<f64> {
        expect_shape("table", table, &[self.buckets, self.heads]);
        let of_head = |n: usize| self.distances().map(move |distance| table[self.bucket(distance) * self.heads + n]);
        (0..self.heads).flat_map(of_head).collect()
    }

    /// d_table from d_bias.
    pub fn backward(&self, d_bias: &[f64]) -> Vec<f64> {
        expect_shape("d_bias", d_bias, &[self.heads, self.queries + self.keys - 1]);
        let mut d_table = vec![0.0; self.buckets * self.heads];
        for (n, row) in d_bias.chunks(self.queries + self.keys - 1).enumerate() {
            for (distance, d) in self.distances().zip(row) {
                d_table[self.bucket(distance) * self.heads + n] += d;
            }
        }
        d_table
    }
}
