//! Dot-product attention within a window: Beltagy, Peters and Cohan, "Longformer" (2020), section 3.1.

use super::{
    add_scaled, dot,
    dot_product_attention::{DotProductGradients, DotProductInputs},
    expect_lengths, expect_shape,
    softmax::{log_sum_exp, softmax, softmax_backward},
};

/// ```text
/// score[b, n, t, s] = query[b, n, t] · key[b, n, s] * scale
/// context[b, n, t]  = sum over visible s of softmax(score[b, n, t])[s] * kept[b, n, t, s] * value[b, n, s]
/// ```
///
/// Key s is visible to query t where `s < lengths[b]`, if causal `s <= t`, and one of these holds: s is global; t is global;
/// `t - s = m * dilation` with `|m| <= window`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlidingWindowAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head and keys per head, T.
    pub steps: usize,
    /// Size of a query, key or value within one head, D.
    pub size: usize,
    /// Keys to either side that a query sees.
    pub window: usize,
    /// The distance between these.
    pub dilation: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// What products are multiplied with.
    pub scale: f64,
}

impl SlidingWindowAttention {
    fn check(&self, inputs: &DotProductInputs, globals: &[bool]) {
        for (name, values) in [("query", inputs.query), ("key", inputs.key), ("value", inputs.value)] {
            expect_shape(name, values, &[self.batch, self.heads, self.steps, self.size]);
        }
        expect_lengths(inputs.lengths, self.batch, self.steps);
        expect_shape("globals", globals, &[self.batch, self.steps]);
        if let Some(kept) = inputs.kept {
            expect_shape("kept", kept, &[self.batch, self.heads, self.steps, self.steps]);
        }
        assert!(inputs.bias.is_none(), "a window has no bias");
    }

    fn visible(&self, lengths: &[u32], globals: &[bool], b: usize, t: usize) -> Vec<usize> {
        let is_global = |position: usize| globals[b * self.steps + position];
        let in_window =
            |s: usize| t.abs_diff(s) <= self.window * self.dilation && t.abs_diff(s).is_multiple_of(self.dilation);
        (0..lengths[b] as usize)
            .filter(|s| *s <= t || !self.causal)
            .filter(|s| is_global(*s) || is_global(t) || in_window(*s))
            .collect()
    }

    /// Where a row of a head starts, heads being counted through the batch.
    fn at(&self, head: usize, position: usize) -> usize {
        (head * self.steps + position) * self.size
    }

    fn scores(&self, inputs: &DotProductInputs, head: usize, t: usize, visible: &[usize]) -> Vec<f64> {
        let query = &inputs.query[self.at(head, t)..][..self.size];
        let key = |s: &usize| &inputs.key[self.at(head, *s)..][..self.size];
        visible.iter().map(|s| self.scale * dot(query, key(s))).collect()
    }

    /// What dropout multiplies a weight with.
    fn kept(&self, inputs: &DotProductInputs, head: usize, t: usize, s: usize) -> f64 {
        inputs.kept.map_or(1.0, |kept| kept[(head * self.steps + t) * self.steps + s])
    }

    /// The context `[B, N, T, D]` and the logarithm of each query's softmax denominator `[B, N, T]`, which positions `globals`
    /// `[B, T]` being global; both are zero for a query that sees no key.
    pub fn forward(&self, inputs: &DotProductInputs, globals: &[bool]) -> (Vec<f64>, Vec<f64>) {
        self.check(inputs, globals);
        let mut context = vec![0.0; inputs.query.len()];
        let mut denominators = vec![0.0; self.batch * self.heads * self.steps];
        for head in 0..self.batch * self.heads {
            for t in 0..self.steps {
                let visible = self.visible(inputs.lengths, globals, head / self.heads, t);
                if visible.is_empty() {
                    continue;
                }
                let scores = self.scores(inputs, head, t, &visible);
                for (s, weight) in visible.iter().zip(softmax(&scores)) {
                    let value = &inputs.value[self.at(head, *s)..][..self.size];
                    let weight = weight * self.kept(inputs, head, t, *s);
                    add_scaled(&mut context[self.at(head, t)..][..self.size], weight, value);
                }
                denominators[head * self.steps + t] = log_sum_exp(&scores);
            }
        }
        (context, denominators)
    }

    /// Gradients from `d_context` `[B, N, T, D]`; that of the bias is empty.
    pub fn backward(&self, inputs: &DotProductInputs, globals: &[bool], d_context: &[f64]) -> DotProductGradients {
        self.check(inputs, globals);
        expect_shape("d_context", d_context, &[self.batch, self.heads, self.steps, self.size]);
        let zeros = || vec![0.0; inputs.query.len()];
        let mut gradients = DotProductGradients { query: zeros(), key: zeros(), value: zeros(), bias: Vec::new() };
        for head in 0..self.batch * self.heads {
            for t in 0..self.steps {
                let visible = self.visible(inputs.lengths, globals, head / self.heads, t);
                let row = self.at(head, t);
                let weights = softmax(&self.scores(inputs, head, t, &visible));
                let d_context = &d_context[row..][..self.size];
                let mut d_weights = Vec::new();
                for (s, weight) in visible.iter().zip(&weights) {
                    let value = self.at(head, *s);
                    let kept = self.kept(inputs, head, t, *s);
                    add_scaled(&mut gradients.value[value..][..self.size], weight * kept, d_context);
                    d_weights.push(kept * dot(d_context, &inputs.value[value..][..self.size]));
                }
                for (s, d_score) in visible.iter().zip(softmax_backward(&weights, &d_weights)) {
                    let key = self.at(head, *s);
                    let d_product = d_score * self.scale;
                    add_scaled(&mut gradients.query[row..][..self.size], d_product, &inputs.key[key..][..self.size]);
                    add_scaled(&mut gradients.key[key..][..self.size], d_product, &inputs.query[row..][..self.size]);
                }
            }
        }
        gradients
    }
}
