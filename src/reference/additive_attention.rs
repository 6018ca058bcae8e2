//! Additive attention: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate"
//! (2015), section 3.1 and appendix A.1.2.

use super::softmax::{softmax, softmax_backward};
use super::{Real, add_scaled, dot, expect_lengths, expect_shape};

/// ```text
/// score[b, t, s]   = energy · tanh(query[b, t] + key[b, s])
/// weights[b, t]    = softmax over s < lengths[b] of score[b, t]
/// context[b, t]    = sum over s of weights[b, t, s] * value[b, s]
/// ```
///
/// The paper's `W_a s` and `U_a h` come in as `query` and `key`, already projected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditiveAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Queries per row, T.
    pub queries: usize,
    /// Keys per row, S, masked ones included.
    pub keys: usize,
    /// Size of the projected queries and keys, A.
    pub size: usize,
    /// Size of a value and of a context, V.
    pub value_size: usize,
}

/// What [`AdditiveAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct AdditiveInputs<'a, R = f64> {
    /// `[B, T, A]`, projected.
    pub query: &'a [R],
    /// `[B, S, A]`, projected, its bias included.
    pub key: &'a [R],
    /// `[A]`, the paper's vector v.
    pub energy: &'a [R],
    /// `[B, S, V]`.
    pub value: &'a [R],
    /// `[B]`, how many keys of each row are valid.
    pub lengths: &'a [u32],
}

/// Gradients of [`AdditiveAttention`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct AdditiveGradients<R = f64> {
    /// `[B, T, A]`.
    pub query: Vec<R>,
    /// `[B, S, A]`.
    pub key: Vec<R>,
    /// `[A]`.
    pub energy: Vec<R>,
    /// `[B, S, V]`.
    pub value: Vec<R>,
}

impl AdditiveAttention {
    fn check<R>(&self, inputs: &AdditiveInputs<R>) {
        expect_shape("query", inputs.query, &[self.batch, self.queries, self.size]);
        expect_shape("key", inputs.key, &[self.batch, self.keys, self.size]);
        expect_shape("energy", inputs.energy, &[self.size]);
        expect_shape("value", inputs.value, &[self.batch, self.keys, self.value_size]);
        expect_lengths(inputs.lengths, self.batch, self.keys);
    }

    /// The context `[B, T, V]` and the weights `[B, T, S]`; both are zero in a row without valid keys.
    pub fn forward<R: Real>(&self, inputs: &AdditiveInputs<R>) -> (Vec<R>, Vec<R>) {
        self.check(inputs);
        let (size, value_size) = (self.size, self.value_size);
        let mut context = vec![R::from(0.0); self.batch * self.queries * value_size];
        let mut weights = vec![R::from(0.0); self.batch * self.queries * self.keys];
        for b in 0..self.batch {
            let length = inputs.lengths[b] as usize;
            for t in 0..self.queries {
                let row = b * self.queries + t;
                let query = &inputs.query[row * size..][..size];
                let mut scores = vec![R::from(0.0); length];
                for s in 0..length {
                    let key = &inputs.key[(b * self.keys + s) * size..][..size];
                    for a in 0..size {
                        scores[s] += inputs.energy[a] * (query[a] + key[a]).tanh();
                    }
                }
                let weights = &mut weights[row * self.keys..][..length];
                weights.copy_from_slice(&softmax(&scores));
                let context = &mut context[row * value_size..][..value_size];
                for s in 0..length {
                    add_scaled(context, weights[s], &inputs.value[(b * self.keys + s) * value_size..][..value_size]);
                }
            }
        }
        (context, weights)
    }

    /// Gradients from `d_context` `[B, T, V]` and, where the weights themselves are used (guided alignment, coverage),
    /// `d_weights` `[B, T, S]`. What `d_weights` holds at masked keys has no effect: those weights are constant.
    pub fn backward<R: Real>(
        &self,
        inputs: &AdditiveInputs<R>,
        d_context: &[R],
        d_weights: Option<&[R]>,
    ) -> AdditiveGradients<R> {
        expect_shape("d_context", d_context, &[self.batch, self.queries, self.value_size]);
        if let Some(d_weights) = d_weights {
            expect_shape("d_weights", d_weights, &[self.batch, self.queries, self.keys]);
        }
        let (_, weights) = self.forward(inputs);
        let (size, value_size) = (self.size, self.value_size);
        let mut gradients = AdditiveGradients {
            query: vec![R::from(0.0); inputs.query.len()],
            key: vec![R::from(0.0); inputs.key.len()],
            energy: vec![R::from(0.0); size],
            value: vec![R::from(0.0); inputs.value.len()],
        };
        for b in 0..self.batch {
            let length = inputs.lengths[b] as usize;
            for t in 0..self.queries {
                let row = b * self.queries + t;
                let weights = &weights[row * self.keys..][..length];
                let d_context = &d_context[row * value_size..][..value_size];
                let mut d_weight = vec![R::from(0.0); length];
                for s in 0..length {
                    let value = (b * self.keys + s) * value_size..(b * self.keys + s + 1) * value_size;
                    add_scaled(&mut gradients.value[value.clone()], weights[s], d_context);
                    let direct = d_weights.map_or(R::from(0.0), |d_weights| d_weights[row * self.keys + s]);
                    d_weight[s] = dot(d_context, &inputs.value[value]) + direct;
                }
                let d_scores = softmax_backward(weights, &d_weight);
                for s in 0..length {
                    for a in 0..size {
                        let (query, key) = (row * size + a, (b * self.keys + s) * size + a);
                        let tanh = (inputs.query[query] + inputs.key[key]).tanh();
                        let d_sum = d_scores[s] * inputs.energy[a] * (R::from(1.0) - tanh * tanh);
                        gradients.energy[a] += d_scores[s] * tanh;
                        gradients.query[query] += d_sum;
                        gradients.key[key] += d_sum;
                    }
                }
            }
        }
        gradients
    }
}
