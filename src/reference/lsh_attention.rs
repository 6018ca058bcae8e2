//! Attention within buckets of a hash: Kitaev, Kaiser and Levskaya, "Reformer: The Efficient Transformer" (2020), section 2.

use super::{
    add_scaled, dot, expect_lengths, expect_shape,
    softmax::{softmax, softmax_backward},
};

/// ```text
/// score[t, s] = (query[t] · key[s]) * scale
/// context[t]  = sum over hashes h and s in seen[h, t] of dropout(softmax(score[t, :]))[s] * value[s]
/// ```
///
/// `seen[h, t]` holds the positions in chunks `c - before .. c + after` of the h-th order, c being that of t, that are within the sequence's
/// length and, if causal, not after t. The chunks of all orders are one circle; one that is as many chunks away as there are, or more, is t's
/// own. One that is not to see itself has its own value as context where it sees no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LshAttention {
    /// Sequences, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Positions of a sequence, T.
    pub steps: usize,
    /// Size of a head, D.
    pub size: usize,
    /// Positions of a chunk.
    pub chunk: usize,
    /// Chunks that are seen before the own one.
    pub before: usize,
    /// Chunks that are seen after it.
    pub after: usize,
    /// Whether positions see none that follow them.
    pub causal: bool,
    /// Whether positions see themselves.
    pub sees_itself: bool,
    /// What products are multiplied with.
    pub scale: f64,
    /// Orders; 0: the text's own alone.
    pub rounds: usize,
    /// The padding that each sequence has by itself, where it is not T: the longest one that has none, and what the length of a longer one is
    /// padded to a multiple of. One that is no longer than a chunk with it is one chunk.
    pub padding: Option<[usize; 2]>,
}

/// What [`LshAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct LshInputs<'a> {
    /// `[B, T, N, D]`
    pub query: &'a [f64],
    /// `[B, T, N, D]`
    pub key: &'a [f64],
    /// `[B, T, N, D]`
    pub value: &'a [f64],
    /// `[B]`
    pub lengths: &'a [u32],
    /// `[B, N, rounds, T]`
    pub buckets: &'a [u32],
    /// `[B, N, T, T]`: what dropout multiplies weights with.
    pub kept: Option<&'a [f64]>,
}

/// Gradients of [`LshAttention`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct LshGradients {
    /// `[B, T, N, D]`
    pub query: Vec<f64>,
    /// `[B, T, N, D]`
    pub key: Vec<f64>,
    /// `[B, T, N, D]`
    pub value: Vec<f64>,
}

/// The buckets `[N, rounds, T]` of one sequence's `x` `[T, N, D]`, of which `length` steps are valid, and how far each was from another:
///
/// ```text
/// bucket[n, h, t] = sum over factors f of (product of the factors before f) * argmax of [x R; -x R], R = columns of f in rotations[n, :, h]
/// ```
///
/// `rotations` is `[N, D, rounds, C]`, each factor taking half as many of the C columns. Positions from `length` on have the product of
/// all factors as bucket.
pub fn buckets(
    x: &[f64],
    rotations: &[f64],
    [heads, size, rounds, length]: [usize; 4],
    factors: &[usize],
) -> (Vec<u32>, Vec<f64>) {
    let (steps, columns) = (x.len() / heads / size, factors.iter().sum::<usize>() / 2);
    expect_shape("rotations", rotations, &[heads, size, rounds, columns]);
    let (mut found, mut margins) = (Vec::new(), Vec::new());
    for n in 0..heads {
        for h in 0..rounds {
            for t in 0..steps {
                let (mut bucket, mut unit, mut first, mut margin) = (0, 1, 0, f64::INFINITY);
                for factor in factors {
                    let along = |c: usize| -> f64 {
                        let at = |d: usize| ((n * size + d) * rounds + h) * columns + first + c;
                        (0..size).map(|d| x[(t * heads + n) * size + d] * rotations[at(d)]).sum()
                    };
                    let (half, mut values) = (factor / 2, Vec::new());
                    values.extend((0..half).map(along));
                    values.extend((0..half).map(|c| -along(c)));
                    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let at = values.iter().position(|value| *value == largest).unwrap_or(0);
                    let others = values.iter().enumerate().filter(|(other, _)| *other != at);
                    margin = others.map(|(_, value)| largest - value).fold(margin, f64::min);
                    bucket += unit * at;
                    unit *= factor;
                    first += half;
                }
                found.push(if t < length { bucket } else { unit } as u32);
                margins.push(margin);
            }
        }
    }
    (found, margins)
}

impl LshAttention {
    fn check(&self, inputs: &LshInputs) {
        let Self { batch, heads, steps, size, chunk, rounds, .. } = *self;
        assert!(steps.is_multiple_of(chunk), "{steps} steps are no whole chunks of {chunk}");
        for (name, values) in [("query", inputs.query), ("key", inputs.key), ("value", inputs.value)] {
            expect_shape(name, values, &[batch, steps, heads, size]);
        }
        expect_lengths(inputs.lengths, batch, steps);
        expect_shape("buckets", inputs.buckets, &[batch, heads, rounds, steps]);
    }

    fn row<'a>(&self, tensor: &'a [f64], [b, n, t]: [usize; 3]) -> &'a [f64] {
        &tensor[((b * self.steps + t) * self.heads + n) * self.size..][..self.size]
    }

    fn row_mut<'a>(&self, tensor: &'a mut [f64], [b, n, t]: [usize; 3]) -> &'a mut [f64] {
        &mut tensor[((b * self.steps + t) * self.heads + n) * self.size..][..self.size]
    }

    /// The positions of a sequence, its own padding included.
    fn extent(&self, length: usize) -> usize {
        match self.padding {
            None => self.steps,
            Some([least, _]) if length <= least => length,
            Some([_, multiple]) => length.next_multiple_of(multiple).min(self.steps),
        }
    }

    /// The orders of a head, one behind the other, and their chunks.
    fn order(&self, inputs: &LshInputs, b: usize, n: usize) -> (Vec<usize>, usize) {
        let extent = self.extent(inputs.lengths[b] as usize);
        if self.rounds == 0 || extent <= self.chunk {
            return ((0..extent).collect(), self.chunk.min(extent));
        }
        let of_head = &inputs.buckets[(b * self.heads + n) * self.rounds * self.steps..][..self.rounds * self.steps];
        let sorted = of_head.chunks(self.steps).flat_map(|buckets| {
            let mut order: Vec<usize> = (0..extent).collect();
            order.sort_by_key(|t| buckets[*t]);
            order
        });
        (sorted.collect(), self.chunk)
    }

    /// What each position of a head sees, as often as it does.
    fn seen(&self, inputs: &LshInputs, b: usize, n: usize) -> Vec<Vec<usize>> {
        let (order, chunk) = self.order(inputs, b, n);
        let (length, chunks) = (inputs.lengths[b] as usize, (order.len() / chunk.max(1)) as isize);
        let mut seen = vec![Vec::new(); self.steps];
        for (slot, &t) in order.iter().enumerate() {
            for away in -(self.before as isize)..=self.after as isize {
                let away = if away.abs() >= chunks { 0 } else { away };
                let other = ((slot / chunk) as isize + away).rem_euclid(chunks) as usize;
                let visible = order[other * chunk..][..chunk].iter().filter(|&&s| {
                    let excluded = (self.causal && s > t) || (!self.sees_itself && s == t);
                    t < length && s < length && !excluded
                });
                seen[t].extend(visible);
            }
        }
        seen
    }

    fn weights(&self, inputs: &LshInputs, [b, n, t]: [usize; 3], seen: &[usize]) -> Vec<f64> {
        let query = self.row(inputs.query, [b, n, t]);
        let score = |s: &usize| self.scale * dot(query, self.row(inputs.key, [b, n, *s]));
        softmax(&seen.iter().map(score).collect::<Vec<_>>())
    }

    /// What dropout multiplies a weight with.
    fn kept(&self, inputs: &LshInputs, [b, n, t]: [usize; 3], s: usize) -> f64 {
        let at = ((b * self.heads + n) * self.steps + t) * self.steps + s;
        inputs.kept.map_or(1.0, |kept| kept[at])
    }

    fn heads(&self) -> impl Iterator<Item = [usize; 2]> {
        let heads = self.heads;
        (0..self.batch).flat_map(move |b| (0..heads).map(move |n| [b, n]))
    }

    /// The contexts `[B, T, N, D]`.
    pub fn forward(&self, inputs: &LshInputs) -> Vec<f64> {
        self.check(inputs);
        let mut context = vec![0.0; inputs.query.len()];
        for [b, n] in self.heads() {
            for (t, seen) in self.seen(inputs, b, n).into_iter().enumerate() {
                let to = self.row_mut(&mut context, [b, n, t]);
                if seen.is_empty() && t < inputs.lengths[b] as usize {
                    to.copy_from_slice(self.row(inputs.value, [b, n, t]));
                }
                for (s, weight) in seen.iter().zip(self.weights(inputs, [b, n, t], &seen)) {
                    add_scaled(to, weight * self.kept(inputs, [b, n, t], *s), self.row(inputs.value, [b, n, *s]));
                }
            }
        }
        context
    }

    /// Gradients from `d_context` `[B, T, N, D]`.
    pub fn backward(&self, inputs: &LshInputs, d_context: &[f64]) -> LshGradients {
        self.check(inputs);
        let zeros = || vec![0.0; inputs.query.len()];
        let (mut query, mut key, mut value) = (zeros(), zeros(), zeros());
        for [b, n] in self.heads() {
            for (t, seen) in self.seen(inputs, b, n).into_iter().enumerate() {
                let d_context = self.row(d_context, [b, n, t]);
                if seen.is_empty() && t < inputs.lengths[b] as usize {
                    add_scaled(self.row_mut(&mut value, [b, n, t]), 1.0, d_context);
                }
                let weights = self.weights(inputs, [b, n, t], &seen);
                let kept: Vec<f64> = seen.iter().map(|s| self.kept(inputs, [b, n, t], *s)).collect();
                let d_weight = |(s, kept): (&usize, &f64)| kept * dot(d_context, self.row(inputs.value, [b, n, *s]));
                let d_weights: Vec<f64> = seen.iter().zip(&kept).map(d_weight).collect();
                for (index, d_score) in softmax_backward(&weights, &d_weights).into_iter().enumerate() {
                    let (other, d_product) = ([b, n, seen[index]], d_score * self.scale);
                    add_scaled(self.row_mut(&mut value, other), weights[index] * kept[index], d_context);
                    add_scaled(self.row_mut(&mut query, [b, n, t]), d_product, self.row(inputs.key, other));
                    add_scaled(self.row_mut(&mut key, other), d_product, self.row(inputs.query, [b, n, t]));
                }
            }
        }
        LshGradients { query, key, value }
    }
}
