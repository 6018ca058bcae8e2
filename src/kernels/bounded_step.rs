//! Steps of parameters between bounds: as large as if a share of the width between these were what is learnt, as the spans of
//! Sukhbaatar et al., "Adaptive Attention Span in Transformers" (2019), are, and clamped (section 2).

use super::{
    expect::{expect, expect_extents, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Tensor, grid},
};

pub(super) static BOUNDED_STEP: Shader = shader!("bounded_step", |tiles| vec![forms::workgroup(tiles)]);

const NAME: &str = "bounded_step";

/// `x = min(max(before + (high - low) * (x - before), low), high)`, element by element; what is not finite stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundedStep {
    /// Elements of x.
    pub elements: usize,
    /// The least value.
    pub low: f32,
    /// The largest value: above the least.
    pub high: f32,
}

impl BoundedStep {
    /// Operations and bytes.
    pub fn cost(&self) -> Cost {
        let elements = self.elements as f64;
        let bytes = ELEMENT as f64 * elements;
        Cost { operations: 5.0 * elements, transcendental: 0.0, read: 2.0 * bytes, written: bytes }
    }

    /// Records the step from `before` to what it makes of x, in place: both f32, of as many elements, and apart.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements or the bounds are no range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, before: &Tensor, x: &Tensor) -> Result<()> {
        let Self { elements, low, high } = *self;
        expect_extents(NAME, &[("elements", elements)])?;
        let valid = low < high && low.is_finite() && high.is_finite();
        expect_setting(NAME, "high", valid, &format!("more than the least value {low}, and finite"), f64::from(high))?;
        expect(NAME, "before", before, &[elements])?;
        expect(NAME, "x", x, &[elements])?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &BOUNDED_STEP,
            specialisation: forms::workgroup(&tiles),
            params: &[elements as u32, low.to_bits(), high.to_bits()],
            tensors: &[before, x],
            workgroups: grid(elements.div_ceil(tiles.workgroup as usize)),
            cost: self.cost(),
        })
    }
}
