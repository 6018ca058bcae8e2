//! Dropout (Srivastava et al. 2014, in the inverted form that leaves inference unchanged) with random bits that are a
//! function of where they are used, so that a replayed dispatch needs no generator state and the backward pass redraws
//! the same mask.

use crate::random::random_bits;

/// Which elements of x stay or go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draw {
    /// None.
    #[default]
    Element,
    /// Those of a row of x `[.., E]`.
    Row {
        /// E.
        width: usize,
    },
    /// Those of x `[B, T, E]` that differ in t alone: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout
    /// in Recurrent Neural Networks" (2016), section 4.
    Sequence {
        /// T.
        steps: usize,
        /// E.
        width: usize,
    },
}

/// `y[i] = x[i] / (1 - rate)` with probability `1 - rate`, else 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements that become 0, in `[0, 1)`. It is an f32 because the threshold must be the kernel's, bit by
    /// bit.
    pub rate: f32,
    /// The run's seed.
    pub seed: u32,
    /// The training step.
    pub step: u32,
    /// Which dropout of the model this is.
    pub operation: u32,
    /// Which elements share their bits.
    pub draw: Draw,
}

impl Dropout {
    /// Whether the element at this index survives.
    pub fn keeps(&self, element: usize) -> bool {
        let drawn = match self.draw {
            Draw::Element => element,
            Draw::Row { width } => element / width,
            Draw::Sequence { steps, width } => element / (steps * width) * width + element % width,
        };
        let threshold = (f64::from(self.rate) * 4_294_967_296.0) as u32;
        random_bits(self.seed, self.step, self.operation, drawn as u32) >= threshold
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        assert!((0.0..1.0).contains(&self.rate), "a dropout rate lies in [0, 1), {} does not", self.rate);
        let scale = 1.0 / (1.0 - f64::from(self.rate));
        x.iter().enumerate().map(|(i, x)| if self.keeps(i) { x * scale } else { 0.0 }).collect()
    }

    /// y from x, in any shape: elements count in row-major order.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.apply(x)
    }

    /// d_x from d_y: the operation is linear, with the same mask.
    pub fn backward(&self, d_y: &[f64]) -> Vec<f64> {
        self.apply(d_y)
    }
}
