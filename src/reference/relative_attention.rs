//! Attention with relative positions: Dai et al., "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context" (2019),
//! section 3.3.

use super::softmax::{softmax, softmax_backward};
use super::{add_scaled, dot, expect_lengths, expect_shape};

/// ```text
/// place[t]          = t + S - T
/// score[b, n, t, s] = (content[b, n, t] · key[b, n, s] + position[b, n, t] · relative[n, place[t] - s]) * scale
/// context[b, n, t]  = sum over s <= place[t], s < lengths[b] of softmax(score[b, n, t])[s] * value[b, n, s]
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T.
    pub queries: usize,
    /// Keys per head, S.
    pub keys: usize,
    /// Size of a head, D.
    pub size: usize,
    /// What scores are multiplied with.
    pub scale: f64,
}

/// What [`RelativeAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct RelativeInputs<'a> {
    /// `[B, T, 2, N, D]`: content, then position.
    pub queries: &'a [f64],
    /// `[B, S, N, D]`
    pub key: &'a [f64],
    /// `[B, S, N, D]`
    pub value: &'a [f64],
    /// `[S, N, D]`, by distance.
    pub relative: &'a [f64],
    /// `[B]`
    pub lengths: &'a [u32],
}

/// Gradients of [`RelativeAttention`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct RelativeGradients {
    /// `[B, T, 2, N, D]`
    pub queries: Vec<f64>,
    /// `[B, S, N, D]`
    pub key: Vec<f64>,
    /// `[B, S, N, D]`
    pub value: Vec<f64>,
    /// `[S, N, D]`
    pub relative: Vec<f64>,
}

/// Where a query's parts start, and how many keys it sees.
struct Query {
    content: usize,
    position: usize,
    context: usize,
    place: usize,
    seen: usize,
}

impl RelativeAttention {
    fn check(&self, inputs: &RelativeInputs) {
        let Self { batch, heads, queries, keys, size, .. } = *self;
        assert!(keys >= queries, "the last keys are those of the queries");
        expect_shape("queries", inputs.queries, &[batch, queries, 2, heads, size]);
        expect_shape("key", inputs.key, &[batch, keys, heads, size]);
        expect_shape("value", inputs.value, &[batch, keys, heads, size]);
        expect_shape("relative", inputs.relative, &[keys, heads, size]);
        expect_lengths(inputs.lengths, batch, keys);
    }

    fn key_at(&self, b: usize, n: usize, s: usize) -> usize {
        ((b * self.keys + s) * self.heads + n) * self.size
    }

    fn relative_at(&self, n: usize, distance: usize) -> usize {
        (distance * self.heads + n) * self.size
    }

    fn query(&self, inputs: &RelativeInputs, b: usize, n: usize, t: usize) -> Query {
        let row = b * self.queries + t;
        let content = (row * 2 * self.heads + n) * self.size;
        let place = t + self.keys - self.queries;
        Query {
            content,
            position: content + self.heads * self.size,
            context: (row * self.heads + n) * self.size,
            place,
            seen: (place + 1).min(inputs.lengths[b] as usize),
        }
    }

    fn weights(&self, inputs: &RelativeInputs, [b, n]: [usize; 2], query: &Query) -> Vec<f64> {
        let of = |tensor: &[f64], at: usize| tensor[at..][..self.size].to_vec();
        let score = |s: usize| {
            let content = dot(&of(inputs.queries, query.content), &of(inputs.key, self.key_at(b, n, s)));
            let vector = of(inputs.relative, self.relative_at(n, query.place - s));
            (content + dot(&of(inputs.queries, query.position), &vector)) * self.scale
        };
        softmax(&(0..query.seen).map(score).collect::<Vec<_>>())
    }

    fn all(&self) -> impl Iterator<Item = [usize; 3]> {
        let Self { batch, heads, queries, .. } = *self;
        (0..batch).flat_map(move |b| (0..heads).flat_map(move |n| (0..queries).map(move |t| [b, n, t])))
    }

    /// The contexts `[B, T, N, D]`.
    pub fn forward(&self, inputs: &RelativeInputs) -> Vec<f64> {
        self.check(inputs);
        let mut context = vec![0.0; self.batch * self.queries * self.heads * self.size];
        for [b, n, t] in self.all() {
            let query = self.query(inputs, b, n, t);
            for (s, weight) in self.weights(inputs, [b, n], &query).into_iter().enumerate() {
                let value = &inputs.value[self.key_at(b, n, s)..][..self.size];
                add_scaled(&mut context[query.context..][..self.size], weight, value);
            }
        }
        context
    }

    /// Gradients from `d_context` `[B, T, N, D]`.
    pub fn backward(&self, inputs: &RelativeInputs, d_context: &[f64]) -> RelativeGradients {
        self.check(inputs);
        let size = self.size;
        let mut gradients = RelativeGradients {
            queries: vec![0.0; inputs.queries.len()],
            key: vec![0.0; inputs.key.len()],
            value: vec![0.0; inputs.value.len()],
            relative: vec![0.0; inputs.relative.len()],
        };
        for [b, n, t] in self.all() {
            let query = self.query(inputs, b, n, t);
            let weights = self.weights(inputs, [b, n], &query);
            let d_context = &d_context[query.context..][..size];
            let d_weights: Vec<f64> =
                (0..query.seen).map(|s| dot(d_context, &inputs.value[self.key_at(b, n, s)..][..size])).collect();
            for (s, d_score) in softmax_backward(&weights, &d_weights).into_iter().enumerate() {
                let (k, r, d) = (self.key_at(b, n, s), self.relative_at(n, query.place - s), d_score * self.scale);
                add_scaled(&mut gradients.value[k..][..size], weights[s], d_context);
                add_scaled(&mut gradients.queries[query.content..][..size], d, &inputs.key[k..][..size]);
                add_scaled(&mut gradients.queries[query.position..][..size], d, &inputs.relative[r..][..size]);
                add_scaled(&mut gradients.key[k..][..size], d, &inputs.queries[query.content..][..size]);
                add_scaled(&mut gradients.relative[r..][..size], d, &inputs.queries[query.position..][..size]);
            }
        }
        gradients
    }
}
