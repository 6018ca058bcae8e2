//! Guided alignment (Chen et al. 2016): the cross-entropy of the attention's weights against an alignment that is given.

use super::{
    expect::{expect, expect_scratch, expect_setting},
    forms,
    library::shader,
    reduction,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static ALIGNMENT_LOSS: Shader = shader!("alignment_loss", forwards);
pub(super) static ALIGNMENT_LOSS_BACKWARD: Shader = shader!("alignment_loss_backward", backwards);

const NAME: &str = "alignment_loss";

/// Added to weights, whose logarithm would otherwise be infinite at 0; as Marian's.
const FLOOR: f32 = 1e-6;

/// ```text
/// loss = - weight * alignment_scale * sum of expected * log(weights + 1e-6)
/// ```
///
/// Each row of `expected` adds up to 1, or is 0 where the target token has no link. `alignment_scale` comes from
/// [`super::Step`]. Where nothing is expected the attention may be anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlignmentLoss {
    /// Elements of weights and expected, `[B, T, S]`.
    pub elements: usize,
    /// What the loss is multiplied with.
    pub weight: f32,
}

impl AlignmentLoss {
    /// Elements of scratch that suffice on every adapter.
    pub fn scratch(&self) -> usize {
        reduction::PARTIALS
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * ELEMENT as f64);
        Cost { operations: 3.0 * elements, transcendental: elements, read: 2.0 * bytes, written: ELEMENT as f64 }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * ELEMENT as f64);
        Cost { operations: 2.0 * elements, transcendental: elements, read: 2.0 * bytes, written: bytes }
    }

    fn check(&self, weights: &Tensor, expected: &Tensor) -> Result<()> {
        expect(NAME, "weights", weights, &[self.elements])?;
        expect(NAME, "expected", expected, &[self.elements])?;
        let weight = self.weight;
        expect_setting(NAME, "weight", weight >= 0.0 && weight.is_finite(), "a number from 0 on", f64::from(weight))
    }

    /// Records the loss `[1]` from weights and expected, both `[B, T, S]`, and the step's buffer.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        [weights, expected]: [&Tensor; 2],
        step: &Tensor,
        scratch: &Tensor,
        loss: &Tensor,
    ) -> Result<()> {
        self.check(weights, expected)?;
        expect(NAME, "loss", loss, &[1])?;
        expect_scratch(NAME, scratch, self.scratch())?;
        let (span, groups) = reduction::split(recorder.gpu(), self.elements);
        recorder.launch(&Launch {
            kernel: &ALIGNMENT_LOSS,
            specialisation: forms::row_reduction(recorder.gpu().tiles()),
            params: &[self.elements as u32, span as u32, self.weight.to_bits(), FLOOR.to_bits()],
            tensors: &[step, weights, expected, scratch],
            workgroups: [groups as u32, 1, 1],
            cost: self.cost(),
        })?;
        reduction::record_partials(recorder, groups, scratch, loss)
    }

    /// Records d_weights `[B, T, S]` from d_loss `[1]`.
    ///
    /// # Errors
    /// As [`AlignmentLoss::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        [weights, expected]: [&Tensor; 2],
        step: &Tensor,
        d_loss: &Tensor,
        d_weights: &Tensor,
    ) -> Result<()> {
        self.check(weights, expected)?;
        expect(NAME, "d_loss", d_loss, &[1])?;
        expect(NAME, "d_weights", d_weights, &[self.elements])?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &ALIGNMENT_LOSS_BACKWARD,
            specialisation: forms::workgroup(&tiles),
            params: &[self.elements as u32, self.weight.to_bits(), FLOOR.to_bits()],
            tensors: &[step, weights, expected, d_loss, d_weights],
            workgroups: grid(self.elements.div_ceil(4 * tiles.workgroup as usize)),
            cost: self.backward_cost(),
        })
    }
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::workgroup(tiles)]
}
