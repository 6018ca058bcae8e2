//! Attention over a span that each head learns: Sukhbaatar et al., "Adaptive Attention Span in Transformers" (2019), section 2.

use super::{add_scaled, dot, expect_shape};

/// ```text
/// place[t]          = t + S - T
/// score[b, n, t, x] = query[b, n, t] · (key[b, n, place[t] - x] + position[x]) * scale         x = 1 .. L
/// mask[n, x]        = min(max((ramp + spans[n] - x) / ramp, 0), 1)
/// weight            = mask * exp(score) / sum over x' of mask * exp(score)
/// context[b, n, t]  = sum over x of weight[b, n, t, x] * value[b, n, place[t] - x]
/// ```
///
/// Before the first key there are zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanAttention {
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
    /// The longest distance, L.
    pub limit: usize,
    /// The distances over which a mask falls from 1 to 0.
    pub ramp: f64,
    /// What scores are multiplied with.
    pub scale: f64,
}

/// What [`SpanAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct SpanInputs<'a> {
    /// `[B, T, N, D]`
    pub query: &'a [f64],
    /// `[B, S, N, D]`
    pub key: &'a [f64],
    /// `[B, S, N, D]`
    pub value: &'a [f64],
    /// `[L, D]`, by distance from 1 on.
    pub position: &'a [f64],
    /// `[N]`
    pub spans: &'a [f64],
}

/// Gradients of [`SpanAttention`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanGradients {
    /// `[B, T, N, D]`
    pub query: Vec<f64>,
    /// `[B, S, N, D]`
    pub key: Vec<f64>,
    /// `[B, S, N, D]`
    pub value: Vec<f64>,
    /// `[L, D]`
    pub position: Vec<f64>,
    /// `[N]`
    pub spans: Vec<f64>,
}

/// What a query sees at one distance.
struct Seen {
    /// Where the vector of the distance starts.
    position: usize,
    /// Where key and value start; none before the first.
    key: Option<usize>,
    mask: f64,
    weight: f64,
    /// What the weight would be without its mask, others being as they are.
    unmasked: f64,
}

impl SpanAttention {
    fn check(&self, inputs: &SpanInputs) {
        let Self { batch, heads, queries, keys, size, limit, .. } = *self;
        assert!(keys >= queries, "the last keys are those of the queries");
        expect_shape("query", inputs.query, &[batch, queries, heads, size]);
        expect_shape("key", inputs.key, &[batch, keys, heads, size]);
        expect_shape("value", inputs.value, &[batch, keys, heads, size]);
        expect_shape("position", inputs.position, &[limit, size]);
        expect_shape("spans", inputs.spans, &[heads]);
    }

    /// The mask of a span at a distance.
    pub fn mask(&self, span: f64, distance: usize) -> f64 {
        ((self.ramp + span - distance as f64) / self.ramp).clamp(0.0, 1.0)
    }

    fn query_at(&self, [b, n, t]: [usize; 3]) -> usize {
        ((b * self.queries + t) * self.heads + n) * self.size
    }

    /// What a query sees, by distance from 1 on; of a head that sees nothing, nothing.
    fn seen(&self, inputs: &SpanInputs, of: [usize; 3]) -> Vec<Seen> {
        let ([b, n, t], Self { heads, queries, keys, size, limit, .. }) = (of, *self);
        let query = &inputs.query[self.query_at(of)..][..size];
        let (mut all, mut scores) = (Vec::new(), Vec::new());
        for distance in 1..=limit {
            let mask = self.mask(inputs.spans[n], distance);
            if mask == 0.0 {
                break;
            }
            let position = (distance - 1) * size;
            let place = (t + keys - queries).checked_sub(distance);
            let key = place.map(|s| ((b * keys + s) * heads + n) * size);
            let content = key.map_or(0.0, |key| dot(query, &inputs.key[key..][..size]));
            scores.push((content + dot(query, &inputs.position[position..][..size])) * self.scale);
            all.push(Seen { position, key, mask, weight: 0.0, unmasked: 0.0 });
        }
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = all.iter().zip(&scores).map(|(seen, score)| seen.mask * (score - largest).exp()).sum();
        for (seen, score) in all.iter_mut().zip(scores) {
            seen.unmasked = (score - largest).exp() / total;
            seen.weight = seen.mask * seen.unmasked;
        }
        all
    }

    fn all(&self) -> impl Iterator<Item = [usize; 3]> {
        let Self { batch, heads, queries, .. } = *self;
        (0..batch).flat_map(move |b| (0..heads).flat_map(move |n| (0..queries).map(move |t| [b, n, t])))
    }

    /// The largest sum of what the weights of a query would be without their masks. Gradients of spans have such sums of weights' gradients.
    pub fn most_unmasked(&self, inputs: &SpanInputs) -> f64 {
        let sum = |of| self.seen(inputs, of).iter().map(|seen| seen.unmasked).sum::<f64>();
        self.all().map(sum).fold(0.0, f64::max)
    }

    /// The contexts `[B, T, N, D]`.
    pub fn forward(&self, inputs: &SpanInputs) -> Vec<f64> {
        self.check(inputs);
        let mut context = vec![0.0; inputs.query.len()];
        for of in self.all() {
            let context = &mut context[self.query_at(of)..][..self.size];
            for seen in self.seen(inputs, of) {
                if let Some(key) = seen.key {
                    add_scaled(context, seen.weight, &inputs.value[key..][..self.size]);
                }
            }
        }
        context
    }

    /// Gradients from `d_context` `[B, T, N, D]`.
    pub fn backward(&self, inputs: &SpanInputs, d_context: &[f64]) -> SpanGradients {
        self.check(inputs);
        let size = self.size;
        let mut gradients = SpanGradients {
            query: vec![0.0; inputs.query.len()],
            key: vec![0.0; inputs.key.len()],
            value: vec![0.0; inputs.value.len()],
            position: vec![0.0; inputs.position.len()],
            spans: vec![0.0; inputs.spans.len()],
        };
        for of in self.all() {
            let q = self.query_at(of);
            let (query, d_context) = (&inputs.query[q..][..size], &d_context[q..][..size]);
            let all = self.seen(inputs, of);
            let d_weight = |seen: &Seen| seen.key.map_or(0.0, |key| dot(d_context, &inputs.value[key..][..size]));
            let delta: f64 = all.iter().map(|seen| seen.weight * d_weight(seen)).sum();
            for seen in &all {
                let d = d_weight(seen) - delta;
                let d_score = seen.weight * d * self.scale;
                if let Some(key) = seen.key {
                    add_scaled(&mut gradients.value[key..][..size], seen.weight, d_context);
                    add_scaled(&mut gradients.key[key..][..size], d_score, query);
                    add_scaled(&mut gradients.query[q..][..size], d_score, &inputs.key[key..][..size]);
                }
                add_scaled(&mut gradients.query[q..][..size], d_score, &inputs.position[seen.position..][..size]);
                add_scaled(&mut gradients.position[seen.position..][..size], d_score, query);
                if seen.mask < 1.0 {
                    gradients.spans[of[1]] += seen.unmasked * d / self.ramp;
                }
            }
        }
        gradients
    }

    /// What [`super::cached_attention`] adds to the scores of a step by distance, from 0 to L: `[R, N, L + 1]` for queries `[R, N, D]`,
    /// with negative infinity where nothing is seen.
    pub fn bias(&self, query: &[f64], position: &[f64], spans: &[f64]) -> Vec<f64> {
        let of = |(n, query): (usize, &[f64])| -> Vec<f64> {
            let seen = |distance: usize| {
                let vector = &position[(distance - 1) * self.size..][..self.size];
                dot(query, vector) + self.mask(spans[n % self.heads], distance).ln() / self.scale
            };
            [f64::NEG_INFINITY].into_iter().chain((1..=self.limit).map(seen)).collect()
        };
        query.chunks(self.size).enumerate().flat_map(of).collect()
    }
}
