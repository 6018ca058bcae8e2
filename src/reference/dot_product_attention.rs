//! Scaled dot-product attention: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1, with the heads of
//! section 3.2.2 as a dimension of the tensors.

use super::softmax::{log_sum_exp, softmax, softmax_backward};
use super::{add_scaled, dot, expect_lengths, expect_shape};

/// ```text
/// score[b, n, t, s] = query[b, n, t] · key[b, n, s] * scale + bias[n, s - t + T - 1]
/// context[b, n, t]  = sum over visible s of softmax(score[b, n, t])[s] * kept[b, n, t, s] * value[b, n, s]
/// ```
///
/// Key s is visible to query t where `s < lengths[b]` and, if causal, `s <= t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DotProductAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T.
    pub queries: usize,
    /// Keys per head, S, masked ones included.
    pub keys: usize,
    /// Size of a query, key or value within one head, D.
    pub size: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// What products are multiplied with: [`standard_scale`], or 1 where a model does not scale (T5).
    pub scale: f64,
}

/// The paper's scale for heads of `size`, 1 / sqrt(D).
pub fn standard_scale(size: usize) -> f64 {
    1.0 / (size as f64).sqrt()
}

/// What [`DotProductAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct DotProductInputs<'a> {
    /// `[B, N, T, D]`.
    pub query: &'a [f64],
    /// `[B, N, S, D]`.
    pub key: &'a [f64],
    /// `[B, N, S, D]`.
    pub value: &'a [f64],
    /// `[B]`, how many keys of each row are valid.
    pub lengths: &'a [u32],
    /// `[N, T + S - 1]`; none is 0 everywhere.
    pub bias: Option<&'a [f64]>,
    /// `[B, N, T, S]`, what dropout multiplies weights with; none is 1 everywhere.
    pub kept: Option<&'a [f64]>,
}

/// Gradients of [`DotProductAttention`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct DotProductGradients {
    /// `[B, N, T, D]`.
    pub query: Vec<f64>,
    /// `[B, N, S, D]`.
    pub key: Vec<f64>,
    /// `[B, N, S, D]`.
    pub value: Vec<f64>,
    /// `[N, T + S - 1]`, also without a bias.
    pub bias: Vec<f64>,
}

impl DotProductAttention {
    fn check(&self, inputs: &DotProductInputs) {
        expect_shape("query", inputs.query, &[self.batch, self.heads, self.queries, self.size]);
        expect_shape("key", inputs.key, &[self.batch, self.heads, self.keys, self.size]);
        expect_shape("value", inputs.value, &[self.batch, self.heads, self.keys, self.size]);
        expect_lengths(inputs.lengths, self.batch, self.keys);
        if let Some(bias) = inputs.bias {
            expect_shape("bias", bias, &[self.heads, self.queries + self.keys - 1]);
        }
        if let Some(kept) = inputs.kept {
            expect_shape("kept", kept, &[self.batch, self.heads, self.queries, self.keys]);
        }
    }

    /// Both masks hide a suffix, so what a query sees is a number.
    fn visible(&self, lengths: &[u32], b: usize, t: usize) -> usize {
        let length = lengths[b] as usize;
        if self.causal { length.min(t + 1) } else { length }
    }

    /// Offset of key or value `s` of head `head` (counted through the batch).
    fn key_offset(&self, head: usize, s: usize) -> usize {
        (head * self.keys + s) * self.size
    }

    /// Offset of the bias of query `t` and key `s`.
    fn bias_offset(&self, head: usize, t: usize, s: usize) -> usize {
        head % self.heads * (self.queries + self.keys - 1) + s + self.queries - 1 - t
    }

    /// What dropout multiplies a weight with.
    fn kept(&self, inputs: &DotProductInputs, head: usize, t: usize, s: usize) -> f64 {
        inputs.kept.map_or(1.0, |kept| kept[(head * self.queries + t) * self.keys + s])
    }

    fn scores(&self, inputs: &DotProductInputs, head: usize, t: usize, visible: usize) -> Vec<f64> {
        let query = &inputs.query[(head * self.queries + t) * self.size..][..self.size];
        let bias = |s| inputs.bias.map_or(0.0, |bias| bias[self.bias_offset(head, t, s)]);
        let score = |s| self.scale * dot(query, &inputs.key[self.key_offset(head, s)..][..self.size]) + bias(s);
        (0..visible).map(score).collect()
    }

    /// The context `[B, N, T, D]` and the logarithm of each query's softmax denominator `[B, N, T]`, over the scaled
    /// scores; both are zero for a query that sees no key.
    pub fn forward(&self, inputs: &DotProductInputs) -> (Vec<f64>, Vec<f64>) {
        self.check(inputs);
        let size = self.size;
        let mut context = vec![0.0; inputs.query.len()];
        let mut denominators = vec![0.0; self.batch * self.heads * self.queries];
        for head in 0..self.batch * self.heads {
            for t in 0..self.queries {
                let visible = self.visible(inputs.lengths, head / self.heads, t);
                if visible == 0 {
                    continue;
                }
                let row = head * self.queries + t;
                let scores = self.scores(inputs, head, t, visible);
                let weights = softmax(&scores);
                for s in 0..visible {
                    let value = &inputs.value[self.key_offset(head, s)..][..size];
                    add_scaled(&mut context[row * size..][..size], weights[s] * self.kept(inputs, head, t, s), value);
                }
                denominators[row] = log_sum_exp(&scores);
            }
        }
        (context, denominators)
    }

    /// Gradients from `d_context` `[B, N, T, D]`.
    pub fn backward(&self, inputs: &DotProductInputs, d_context: &[f64]) -> DotProductGradients {
        self.check(inputs);
        expect_shape("d_context", d_context, &[self.batch, self.heads, self.queries, self.size]);
        let size = self.size;
        let mut gradients = DotProductGradients {
            query: vec![0.0; inputs.query.len()],
            key: vec![0.0; inputs.key.len()],
            value: vec![0.0; inputs.value.len()],
            bias: vec![0.0; self.heads * (self.queries + self.keys - 1)],
        };
        for head in 0..self.batch * self.heads {
            for t in 0..self.queries {
                let visible = self.visible(inputs.lengths, head / self.heads, t);
                let row = (head * self.queries + t) * size;
                let weights = softmax(&self.scores(inputs, head, t, visible));
                let d_context = &d_context[row..][..size];
                let mut d_weights = vec![0.0; visible];
                for s in 0..visible {
                    let value = self.key_offset(head, s);
                    let kept = self.kept(inputs, head, t, s);
                    add_scaled(&mut gradients.value[value..][..size], weights[s] * kept, d_context);
                    d_weights[s] = kept * dot(d_context, &inputs.value[value..][..size]);
                }
                let d_scores = softmax_backward(&weights, &d_weights);
                for s in 0..visible {
                    let key = self.key_offset(head, s);
                    let d_product = d_scores[s] * self.scale;
                    gradients.bias[self.bias_offset(head, t, s)] += d_scores[s];
                    add_scaled(&mut gradients.query[row..][..size], d_product, &inputs.key[key..][..size]);
                    add_scaled(&mut gradients.key[key..][..size], d_product, &inputs.query[row..][..size]);
                }
            }
        }
        gradients
    }
}
