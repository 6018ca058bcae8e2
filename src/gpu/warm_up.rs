//! Pipelines compiled by the driver before they are needed.

use super::{
    Gpu,
    dispatch::{Dispatch, encode},
    stopwatch::Stopwatch,
};

/// Dispatches each pipeline that the driver has not run yet, with no workgroups. Drivers such as lavapipe compile at the
/// first dispatch; here it shows as progress instead of a stall in the first step. No invocation runs, so nothing is read or
/// written, whatever the tensors hold by now.
pub(super) struct WarmUp<'a> {
    gpu: &'a Gpu,
    cold: Vec<&'a Dispatch>,
    done: usize,
    start: Stopwatch,
    reported: Stopwatch,
}

impl<'a> WarmUp<'a> {
    pub(super) fn new(gpu: &'a Gpu, dispatches: &'a [Dispatch]) -> Self {
        let cold = dispatches.iter().filter(|dispatch| dispatch.pipeline.claim_warm_up()).collect();
        Self { gpu, cold, done: 0, start: Stopwatch::start(), reported: Stopwatch::start() }
    }

    /// Submits the next pipeline, to be waited for before the one after it; `false` when there is none left.
    pub(super) fn submit_next(&mut self) -> bool {
        let total = self.cold.len();
        let Some(dispatch) = self.cold.get(self.done) else {
            if total > 0 {
                tracing::debug!(
                    "{total} kernels compiled by the driver in {:.2} s",
                    self.start.elapsed().as_secs_f32()
                );
            }
            return false;
        };
        if self.done > 0 && self.reported.elapsed().as_secs_f32() > 1.0 {
            self.reported = Stopwatch::start();
            tracing::info!("the driver is compiling kernels: {} of {total}", self.done);
        }
        self.gpu.note_submission(&format!("compiling {}", dispatch.pipeline.label), 0);
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encode(&mut encoder, "warm-up", None, [(*dispatch, [0, 0, 0])]);
        self.gpu.queue().submit([encoder.finish()]);
        self.done += 1;
        true
    }
}
