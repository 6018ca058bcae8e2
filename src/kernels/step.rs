//! What changes from step to step of a replayed Program, in one small uniform buffer.

use bytemuck::{Pod, Zeroable};

use crate::{Gpu, Result, Tensor};

/// The words of `shaders/shared/step.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// The number of the step, from 1.
    pub step: u32,
    /// The run's seed, for dropout.
    pub seed: u32,
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// What the sum of the tokens' losses is multiplied with: one over the number of target tokens that are not padding.
    pub loss_scale: f32,
    /// Which of the batches of an update this is, from 0, where gradients are accumulated.
    pub batch: u32,
    /// How many batches make the update together; 0 and 1 both say that this one does alone.
    pub batches: u32,
    /// What the loss of guided alignment is multiplied with: one over the number of target tokens that have links.
    pub alignment_scale: f32,
    /// Which rank has these rows of the batch, from 0.
    pub rank: u32,
    /// How many ranks share the rows of the batch ([`crate::batch::Batch::share`]); 0 and 1 both say that this one has them all.
    pub ranks: u32,
}

impl Step {
    /// The buffer that kernels bind.
    ///
    /// # Errors
    /// As [`Gpu::uniform`].
    pub fn buffer(gpu: &Gpu) -> Result<Tensor> {
        gpu.uniform("step", size_of::<Self>() / 4)
    }

    /// As words, for [`Gpu::write`].
    pub fn words(self) -> [u32; 9] {
        bytemuck::cast(self)
    }
}
