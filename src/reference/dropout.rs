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
    /// Whose rows of the batch they are.
    pub rows: Rows,
}

/// The rows of a batch that one of several ranks has. They are dealt out from the first on, to and fro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Elements of a row; 0 where there are none, and all ranks draw the same.
    pub elements: usize,
    /// The rank, from 0.
    pub rank: usize,
    /// All ranks.
    pub ranks: usize,
}

impl Rows {
    /// Those of a process that has all of them.
    pub const ALL: Self = Self { elements: 0, rank: 0, ranks: 1 };

    /// The number of an element among those of the whole batch.
    fn of_all(&self, element: usize) -> usize {
        let Self { elements, rank, ranks } = *self;
        if elements == 0 {
            return element;
        }
        let (round, place) = (element / elements, element % elements);
        let forth: Vec<usize> = (0..ranks).collect();
        let back: Vec<usize> = (0..ranks).rev().collect();
        let dealt = if round.is_multiple_of(2) { &forth } else { &back };
        (round * ranks + dealt[rank]) * elements + place
    }
}

impl Dropout {
    /// Whether the element at this index survives.
    pub fn keeps(&self, element: usize) -> bool {
        let element = self.rows.of_all(element);
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
