//! Attention of one new query a row to the keys and values of its earlier steps: dot-product attention (Vaswani et al. 2017,
//! section 3.2.1) while a text is generated.

use super::softmax::softmax;
use super::{add_scaled, dot, expect_shape};

/// ```text
/// score[r, n, s] = query[r, n] · key[origins[r, s], s, n] * scale + bias
/// context[r, n]  = sum over first[r] <= s <= position[r] of softmax(score[r, n])[s] * value[origins[r, s], s, n]
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttention {
    /// Rows, R.
    pub rows: usize,
    /// Heads, N.
    pub heads: usize,
    /// Size of a head, D.
    pub size: usize,
    /// The most positions of a row.
    pub capacity: usize,
    /// What products are multiplied with.
    pub scale: f64,
    /// Positions of a segment, and of the memory before it: what a row sees. Without it all.
    pub segments: Option<[usize; 2]>,
}

/// What [`CachedAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct CachedInputs<'a> {
    /// `[R, N·D]`
    pub query: &'a [f64],
    /// `[R, capacity, N·D]`
    pub key: &'a [f64],
    /// `[R, capacity, N·D]`
    pub value: &'a [f64],
    /// `[R, capacity]`: the row that wrote each position.
    pub origins: &'a [u32],
    /// `[R]`: the last position that each row sees.
    pub positions: &'a [usize],
    /// What scores get added; none is 0 everywhere.
    pub bias: Option<Bias<'a>>,
}

/// What scores get added by the distance of a position from a row's own.
#[derive(Clone, Copy, Debug)]
pub enum Bias<'a> {
    /// `[N, 2·capacity - 1]`, at s - position + capacity - 1.
    OfHeads(&'a [f64]),
    /// `[R, N, capacity]`, at position - s, times the scale.
    OfRows(&'a [f64]),
}

impl CachedAttention {
    /// The contexts `[R, N·D]`.
    pub fn forward(&self, inputs: &CachedInputs) -> Vec<f64> {
        let Self { rows, heads, size, capacity, scale, segments } = *self;
        let width = heads * size;
        expect_shape("query", inputs.query, &[rows, width]);
        expect_shape("key", inputs.key, &[rows, capacity, width]);
        expect_shape("value", inputs.value, &[rows, capacity, width]);
        let mut context = vec![0.0; rows * width];
        for (row, position) in inputs.positions.iter().enumerate() {
            let first = segments.map_or(0, |[steps, memory]| (position / steps * steps).saturating_sub(memory));
            for head in 0..heads {
                let at = |s: usize| {
                    let origin = inputs.origins[row * capacity + s] as usize;
                    (origin * capacity + s) * width + head * size
                };
                let query = &inputs.query[row * width + head * size..][..size];
                let bias = |s: usize| match inputs.bias {
                    None => 0.0,
                    Some(Bias::OfHeads(bias)) => bias[head * (2 * capacity - 1) + s + capacity - 1 - position],
                    Some(Bias::OfRows(bias)) => scale * bias[(row * heads + head) * capacity + position - s],
                };
                let score = |s: usize| scale * dot(query, &inputs.key[at(s)..][..size]) + bias(s);
                let weights = softmax(&(first..=*position).map(score).collect::<Vec<_>>());
                for (s, weight) in (first..).zip(weights) {
                    let sum = &mut context[row * width + head * size..][..size];
                    add_scaled(sum, weight, &inputs.value[at(s)..][..size]);
                }
            }
        }
        context
    }

    /// Which row wrote each position after rows continue `parents`, whose last positions are `positions`.
    pub fn follow(&self, origins: &[u32], parents: &[u32], positions: &[usize]) -> Vec<u32> {
        let of_row = |row: usize| {
            let parent = parents[row] as usize;
            (0..self.capacity).map(move |s| match s <= positions[parent] {
                true => origins[parent * self.capacity + s],
                false => row as u32,
            })
        };
        (0..self.rows).flat_map(of_row).collect()
    }
}
