//! The memory of a training step, by class of tensor.

use super::ModelSize;
use crate::{Gpu, Result, Tensor, gpu::Dtype, graph::Parameters, kernels::matmul::cooperative_trials, train::Shard};

/// Bytes of a model in training, as planned and as allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Each class, and its bytes.
    pub classes: Vec<(&'static str, u64)>,
    /// Bytes that the activations would take if each had memory of its own.
    pub unshared: u64,
    /// Bytes of all buffers made on the device, by its own count.
    pub allocated: u64,
}

impl TrainingMemory {
    /// Makes the Program of a training step of W5, and lists its memory. Of so many `ranks`, each with a batch as large as that of one,
    /// it is the memory of the one with the largest part of the moments, where each keeps a part of them alone.
    ///
    /// # Errors
    /// The errors of kernels, and [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn of(gpu: &Gpu, size: &ModelSize, ranks: Option<usize>) -> Result<Self> {
        // What a trial makes is no part of the step.
        cooperative_trials(gpu);
        let before = gpu.counters().bytes;
        let mut trainer = match ranks {
            Some(ranks) => size.sharded_trainer(gpu, Shard { rank: 0, size: ranks })?,
            None => size.trainer(gpu, Dtype::F32)?,
        };
        let memory = trainer.prepare(size.shape())?.memory();
        let buckets = if ranks.is_some() { trainer.buckets(size.shape())? } else { Vec::new() };
        // Those through which ranks send gradients, made here for nothing but their size.
        let sent = buckets.iter().map(|(bytes, _)| gpu.readback_buffer("bytes of a bucket", *bytes));
        let sent: Vec<_> = sent.collect::<Result<_>>()?;
        let allocated = gpu.counters().bytes - before;
        let blocks = |parameters: &Parameters| parameters.blocks().iter().map(bytes).sum::<u64>();
        let state = &trainer.state;
        let mut classes = vec![
            ("parameters", blocks(&state.parameters)),
            ("gradients", blocks(&state.gradients)),
            ("first moments", blocks(&state.first)),
            ("second moments", blocks(&state.second)),
            ("activations, sharing slots", memory.slots),
            ("inputs and constants", memory.inputs),
            ("outputs", memory.outputs + bytes(&trainer.loss) + bytes(&state.report)),
            ("optimiser's scratch", trainer.optimizer_scratch()),
            ("staging of uploads", memory.staging),
            ("settings of dispatches", memory.settings),
        ];
        if ranks.is_some() {
            classes.push(("staging of gradients", sent.iter().map(wgpu::Buffer::size).sum()));
        }
        Ok(Self { classes, unshared: memory.unshared, allocated })
    }

    /// All classes together.
    pub fn total(&self) -> u64 {
        self.classes.iter().map(|(_, bytes)| bytes).sum()
    }
}

fn bytes(tensor: &Tensor) -> u64 {
    tensor.buffer().size()
}
