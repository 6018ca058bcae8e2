//! The coverage loss (See et al. 2017, section 2.3): attention that goes where it was before costs.

use super::{
    expect::{expect, expect_scratch, expect_setting},
    forms,
    library::shader,
    reduction,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static COVERAGE_LOSS: Shader = shader!("coverage_loss", forwards);
pub(super) static COVERAGE_LOSS_BACKWARD: Shader = shader!("coverage_loss_backward", backwards);

const NAME: &str = "coverage_loss";

/// ```text
/// loss = weight * loss_scale * sum over t, s of min(w[t, s], c[t, s]),   c[t, s] = sum of w[u, s] over u < t
/// ```
///
/// Steps t whose target is padding do not count. `loss_scale` comes from [`super::Step`]: with it the loss is a mean over
/// target tokens, as the cross-entropy is. Positions past a source's length have weights of 0 and add nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoverageLoss {
    /// Rows, B.
    pub batch: usize,
    /// Target steps, T.
    pub steps: usize,
    /// Source steps, S.
    pub keys: usize,
    /// What the loss is multiplied with.
    pub weight: f32,
    /// The target that is padding.
    pub padding: u32,
}

/// The inputs of [`CoverageLoss`] in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Of the attention, `[B, T, S]`.
    pub weights: &'a Tensor,
    /// `[B, T]`, u32.
    pub targets: &'a Tensor,
    /// The buffer of [`super::Step`].
    pub step: &'a Tensor,
}

impl CoverageLoss {
    /// Elements of scratch that suffice on every adapter.
    pub fn scratch(&self) -> usize {
        product(&[self.batch, self.keys])
    }

    fn elements(&self) -> f64 {
        (self.batch * self.steps * self.keys) as f64
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self) -> Cost {
        let (elements, bytes) = (self.elements(), ELEMENT as f64);
        let read = bytes * (elements + (self.batch * self.steps) as f64);
        Cost { operations: 3.0 * elements, transcendental: 0.0, read, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self) -> Cost {
        let forward = self.cost();
        let written = ELEMENT as f64 * self.elements();
        Cost { operations: 8.0 * self.elements(), read: 2.0 * forward.read, written, ..forward }
    }

    fn params(&self) -> [u32; 5] {
        [self.batch as u32, self.steps as u32, self.keys as u32, self.weight.to_bits(), self.padding]
    }

    fn check(&self, weights: &Tensor, targets: &Tensor) -> Result<()> {
        expect(NAME, "weights", weights, &[self.batch, self.steps, self.keys])?;
        expect(NAME, "targets", targets, &[self.batch, self.steps])?;
        let weight = self.weight;
        expect_setting(NAME, "weight", weight >= 0.0 && weight.is_finite(), "a number from 0 on", f64::from(weight))
    }

    /// Records the loss `[1]`. `scratch` has [`CoverageLoss::scratch`] elements.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, scratch: &Tensor, loss: &Tensor) -> Result<()> {
        let Inputs { weights, targets, step } = *inputs;
        self.check(weights, targets)?;
        expect(NAME, "loss", loss, &[1])?;
        expect_scratch(NAME, scratch, self.scratch())?;
        let tiles = *recorder.gpu().tiles();
        let groups = (self.batch * self.keys).div_ceil(tiles.row as usize);
        recorder.launch(&Launch {
            kernel: &COVERAGE_LOSS,
            specialisation: forms::row_reduction(&tiles),
            params: &self.params(),
            tensors: &[step, weights, targets, scratch],
            workgroups: grid(groups),
            cost: self.cost(),
        })?;
        reduction::record_partials(recorder, groups, scratch, loss)
    }

    /// Records d_weights `[B, T, S]` from d_loss `[1]`.
    ///
    /// # Errors
    /// As [`CoverageLoss::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        d_loss: &Tensor,
        d_weights: &Tensor,
    ) -> Result<()> {
        let Inputs { weights, targets, step } = *inputs;
        self.check(weights, targets)?;
        expect(NAME, "d_loss", d_loss, &[1])?;
        expect(NAME, "d_weights", d_weights, &[self.batch, self.steps, self.keys])?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &COVERAGE_LOSS_BACKWARD,
            specialisation: forms::workgroup(&tiles),
            params: &self.params(),
            tensors: &[step, weights, targets, d_loss, d_weights],
            workgroups: grid((self.batch * self.keys).div_ceil(tiles.workgroup as usize)),
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
