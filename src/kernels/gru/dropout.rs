//! The mask on the states of a layer: where it lies among them, and how a sequence begins with it.

use super::Masking;
use crate::{
    Result,
    gpu::{Recorder, Tensor},
    kernels::{copy::Copy, matmul::Matrix, pointwise::Pointwise},
};

/// How many times `[B, H]` each direction keeps: the states before and after the steps; with a mask their products with it as
/// well, and the mask.
pub(in crate::kernels) fn kept_states(steps: usize, masked: bool) -> usize {
    if masked { 2 * (steps + 1) + 1 } else { steps + 1 }
}

/// Sizes of a layer with a mask on its states.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct StateDropout {
    pub batch: usize,
    pub steps: usize,
    pub hidden: usize,
    pub directions: usize,
}

impl StateDropout {
    fn state(&self) -> usize {
        self.batch * self.hidden
    }

    pub fn masking(&self, d: usize) -> Masking {
        let distance = (self.steps + 1) * self.state();
        Masking { mask: d * kept_states(self.steps, true) * self.state() + 2 * distance, distance }
    }

    /// Records the mask and its product with the first states, both `[D, B, H]`, into `states`; `scratch` holds as many. The product of
    /// states that begin with zeros is the first step's.
    pub fn record_start(
        &self,
        recorder: &mut Recorder,
        first: Option<&Tensor>,
        mask: &Tensor,
        states: &Tensor,
        scratch: &Tensor,
    ) -> Result<()> {
        let Self { batch, steps, hidden, directions } = *self;
        let copy = Copy { rows: batch, columns: hidden, batch: directions };
        let from = |tensor| Matrix { tensor, offset: 0, stride: hidden, batch_stride: self.state() };
        let kept = kept_states(steps, true) * self.state();
        let to = |offset| Matrix { tensor: states, offset, stride: hidden, batch_stride: kept };
        let Masking { mask: place, distance } = self.masking(0);
        copy.record(recorder, from(mask), None, to(place))?;
        let Some(first) = first else { return Ok(()) };
        let product = scratch.scratch([directions, batch, hidden])?;
        Pointwise::Multiply.record(recorder, first, Some(mask), &product)?;
        copy.record(recorder, from(&product), None, to(distance))
    }
}
