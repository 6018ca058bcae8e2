//! Steps past each sequence's length set to 0, and those before it multiplied with the root of the length: Gehring et al.,
//! "Convolutional Sequence to Sequence Learning" (2017), section 3.4.

use super::{expect_lengths, expect_shape};

/// `y[b, t, c] = factor * x[b, t, c]` where `t < lengths[b]`, and 0 past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthMask {
    /// Sequences, B.
    pub batch: usize,
    /// Steps of each, T.
    pub steps: usize,
    /// Channels of a step, C.
    pub channels: usize,
    /// Whether the factor is the root of the length, and not 1.
    pub root: bool,
}

impl LengthMask {
    /// y from x, and d_x from d_y.
    pub fn forward(&self, x: &[f64], lengths: &[u32]) -> Vec<f64> {
        let Self { batch, steps, channels, root } = *self;
        expect_shape("x", x, &[batch, steps, channels]);
        expect_lengths(lengths, batch, steps);
        let mut y = vec![0.0; x.len()];
        for (b, length) in lengths.iter().enumerate() {
            let factor = if root { f64::from(*length).sqrt() } else { 1.0 };
            let start = b * steps * channels;
            for i in start..start + *length as usize * channels {
                y[i] = factor * x[i];
            }
        }
        y
    }
}
