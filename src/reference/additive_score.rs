//! The "concat" score of Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation" (2015),
//! equation 8, which is that of additive attention.

use super::{expect_lengths, expect_shape};

/// `score[b, t, s] = energy · tanh(query[b, t] + key[b, s])`, 0 where s is at or past the row's length.
///
/// The paper's `W_a [h; h̄]` comes in as query and key: a half of `W_a` for each, already applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditiveScore {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Queries per row, T.
    pub queries: usize,
    /// Keys per row, S, masked ones included.
    pub keys: usize,
    /// Size of queries and keys, A.
    pub size: usize,
}

/// What [`AdditiveScore`] reads.
#[derive(Clone, Copy, Debug)]
pub struct ScoreInputs<'a> {
    /// `[B, T, A]`.
    pub query: &'a [f64],
    /// `[B, S, A]`.
    pub key: &'a [f64],
    /// `[A]`, the paper's vector v.
    pub energy: &'a [f64],
    /// `[B]`, how many keys of each row are valid.
    pub lengths: &'a [u32],
}

/// Gradients of [`AdditiveScore`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreGradients {
    /// `[B, T, A]`.
    pub query: Vec<f64>,
    /// `[B, S, A]`.
    pub key: Vec<f64>,
    /// `[A]`.
    pub energy: Vec<f64>,
}

impl AdditiveScore {
    fn check(&self, inputs: &ScoreInputs<'_>) {
        expect_shape("query", inputs.query, &[self.batch, self.queries, self.size]);
        expect_shape("key", inputs.key, &[self.batch, self.keys, self.size]);
        expect_shape("energy", inputs.energy, &[self.size]);
        expect_lengths(inputs.lengths, self.batch, self.keys);
    }

    /// The scores `[B, T, S]`.
    pub fn forward(&self, inputs: &ScoreInputs<'_>) -> Vec<f64> {
        self.check(inputs);
        let mut scores = vec![0.0; self.batch * self.queries * self.keys];
        for b in 0..self.batch {
            for t in 0..self.queries {
                let row = b * self.queries + t;
                for s in 0..inputs.lengths[b] as usize {
                    for a in 0..self.size {
                        let sum = inputs.query[row * self.size + a] + inputs.key[(b * self.keys + s) * self.size + a];
                        scores[row * self.keys + s] += inputs.energy[a] * sum.tanh();
                    }
                }
            }
        }
        scores
    }

    /// Gradients from `d_scores` `[B, T, S]`. What it holds at masked keys has no effect.
    pub fn backward(&self, inputs: &ScoreInputs<'_>, d_scores: &[f64]) -> ScoreGradients {
        self.check(inputs);
        expect_shape("d_scores", d_scores, &[self.batch, self.queries, self.keys]);
        let mut gradients = ScoreGradients {
            query: vec![0.0; inputs.query.len()],
            key: vec![0.0; inputs.key.len()],
            energy: vec![0.0; self.size],
        };
        for b in 0..self.batch {
            for t in 0..self.queries {
                let row = b * self.queries + t;
                for s in 0..inputs.lengths[b] as usize {
                    let d_score = d_scores[row * self.keys + s];
                    for a in 0..self.size {
                        let (query, key) = (row * self.size + a, (b * self.keys + s) * self.size + a);
                        let tanh = (inputs.query[query] + inputs.key[key]).tanh();
                        let d_sum = d_score * inputs.energy[a] * (1.0 - tanh * tanh);
                        gradients.energy[a] += d_score * tanh;
                        gradients.query[query] += d_sum;
                        gradients.key[key] += d_sum;
                    }
                }
            }
        }
        gradients
    }
}
