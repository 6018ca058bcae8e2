//! Dropout in the inverted form (Srivastava et al. 2014) with bits that are a hash of seed, step, operation and element: a
//! replay needs no state, and the backward pass redraws the same mask.

use super::{
    expect::{expect, expect_setting},
    forms,
    table::DROPOUT,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Specialisation, Tensor, Tiles, grid},
};

/// `y[i] = x[i] / (1 - rate)` with probability `1 - rate`, else 0. Seed and step come from [`super::Step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Elements of x, in row-major order.
    pub elements: usize,
    /// The share of elements that become 0, in `[0, 1)`.
    pub rate: f32,
    /// Which dropout of the model this is.
    pub operation: u32,
}

impl Dropout {
    /// Operations and bytes of either pass.
    pub fn cost(&self) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * ELEMENT as f64);
        // The hash: one round of ten operations an element; the rounds over seed, step and operation are shared by four.
        Cost { operations: 20.0 * elements, transcendental: 0.0, read: bytes, written: bytes }
    }

    /// Records y from x, both `[elements]`, or d_x from d_y: the operation is linear, with the same mask.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or the rate is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, step: &Tensor, y: &Tensor) -> Result<()> {
        expect("dropout", "x", x, &[self.elements])?;
        expect("dropout", "y", y, &[self.elements])?;
        let rate = f64::from(self.rate);
        expect_setting("dropout", "rate", (0.0..1.0).contains(&rate), "a rate in [0, 1)", rate)?;
        let threshold = (rate * 4_294_967_296.0) as u32;
        let scale = (1.0 / (1.0 - rate)) as f32;
        let tiles = recorder.gpu().tiles();
        let (specialisation, lanes) = (forms::workgroup(tiles), tiles.workgroup);
        recorder.dispatch(&Launch {
            kernel: &DROPOUT,
            specialisation,
            params: &[self.elements as u32, self.operation, threshold, scale.to_bits()],
            tensors: &[step, x, y],
            workgroups: grid(self.elements.div_ceil(4 * lanes as usize)),
            cost: self.cost(),
        })
    }
}

pub(super) fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::workgroup(tiles)]
}
