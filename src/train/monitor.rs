//! Loss and gradient norm, read back without waiting.

use std::sync::mpsc::{Receiver, Sender, channel};

use serde::Serialize;

use crate::{Error, Gpu, Result, Tensor, gpu::Signal, kernels::adam::StepReport};

/// The report of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reading {
    /// The step.
    pub step: u64,
    /// The loss per target token, over all batches of the step.
    pub loss: f32,
    /// The global norm of the gradients before clipping.
    pub norm: f32,
    /// Steps so far whose loss or norm was not finite, in f16 with a loss scale of 1; their update was skipped.
    pub skipped: u32,
    /// The last such step.
    pub last_skipped: u32,
    /// The factor on the gradients of this step, in f16.
    pub loss_scale: Option<f32>,
}

/// Copies the numbers of a step to mapped memory; they arrive when the device gets there.
#[derive(Debug)]
pub(super) struct Monitor {
    gpu: Gpu,
    report: Tensor,
    idle: Vec<wgpu::Buffer>,
    arrived: (Sender<Arrival>, Receiver<Arrival>),
}

type Arrival = (u64, wgpu::Buffer, Result<(), wgpu::BufferAsyncError>);

impl Monitor {
    pub fn new(gpu: &Gpu, report: &Tensor) -> Self {
        Self { gpu: gpu.clone(), report: report.clone(), idle: Vec::new(), arrived: channel() }
    }

    /// Asks for the numbers of `step`, which was submitted last. The signal tells that they have arrived, and that the step is made.
    pub fn request(&mut self, step: u64) -> Result<Signal<()>> {
        let report = &self.report;
        let buffer = match self.idle.pop() {
            Some(buffer) => buffer,
            None => self.gpu.readback_buffer("monitor", report.bytes())?,
        };
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("monitor") });
        encoder.copy_buffer_to_buffer(report.buffer(), report.offset(), &buffer, 0, report.bytes());
        let (sender, back) = (self.arrived.0.clone(), buffer.clone());
        let arrived = Signal::default();
        let signal = arrived.clone();
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |result| {
            // The receiver lives as long as the run; after it nobody asks.
            let _ = sender.send((step, back, result));
            signal.set(());
        });
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.count_readback();
        Ok(arrived)
    }

    /// The readings that have arrived; with `wait`, all that were asked for.
    pub fn readings(&mut self, wait: bool) -> Result<Vec<Reading>> {
        if wait {
            self.gpu.wait(None)?;
        } else {
            self.gpu.poll()?;
        }
        let mut readings = Vec::new();
        while let Ok((step, buffer, result)) = self.arrived.1.try_recv() {
            let failed = |message: String| Error::Gpu { kernel: "monitor".into(), message };
            result.map_err(|error| failed(error.to_string()))?;
            let report = {
                let mapped = buffer.slice(..).get_mapped_range().map_err(|error| failed(error.to_string()))?;
                StepReport::of_bytes(&mapped)
            };
            buffer.unmap();
            if let Some(StepReport { norm, skipped, last_skipped, loss, loss_scale, .. }) = report {
                let loss_scale = Some(loss_scale).filter(|scale| *scale > 0.0);
                readings.push(Reading { step, loss, norm, skipped, last_skipped, loss_scale });
            }
            self.idle.push(buffer);
        }
        Ok(readings)
    }
}
