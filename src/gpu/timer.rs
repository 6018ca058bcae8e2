//! Times of the device: by its own clock, where it has one, and by the wall's.

use std::time::Duration;

use super::{Gpu, Recording, stopwatch::Stopwatch};
use crate::{Error, Result};

/// Bytes of a timestamp.
const TIMESTAMP: u64 = 8;

/// The time of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Timed {
    /// From submit to the end of waiting.
    pub wall: Duration,
    /// Between the device's timestamps before and after the dispatches. Some drivers write nonsense: compare it with `wall`.
    pub device: Option<Duration>,
}

/// Runs recordings and measures them.
#[derive(Debug)]
pub struct Timer {
    gpu: Gpu,
    stamps: Option<Stamps>,
}

/// The device's clock before and after a compute pass.
#[derive(Debug)]
pub(super) struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl Stamps {
    /// `None` on an adapter without a clock.
    pub fn new(gpu: &Gpu) -> Result<Option<Self>> {
        if !gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Ok(Some(Self {
            queries: gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: gpu.raw_buffer("timestamps", 2 * TIMESTAMP, usage)?,
            readback: gpu.readback_buffer("timestamps", 2 * TIMESTAMP)?,
        }))
    }

    /// What the pass writes.
    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Behind the pass.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, 2 * TIMESTAMP);
    }

    /// The time between the two, once the pass has ended; `None` where they make no sense.
    pub fn read(&self, gpu: &Gpu) -> Result<Option<Duration>> {
        self.readback.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        gpu.wait(None)?;
        let ticks: Vec<u64> = {
            let mapped = self.readback.slice(..2 * TIMESTAMP).get_mapped_range();
            let mapped = mapped.map_err(|error| Error::Gpu { kernel: "timer".into(), message: error.to_string() })?;
            bytemuck::pod_collect_to_vec(&mapped)
        };
        self.readback.unmap();
        Ok(match ticks[..] {
            [start, end] if end > start => {
                let nanoseconds = (end - start) as f64 * f64::from(gpu.queue().get_timestamp_period());
                Duration::try_from_secs_f64(nanoseconds * 1e-9).ok()
            }
            _ => None,
        })
    }
}

impl Timer {
    /// A timer; it uses the device's clock if there is one.
    ///
    /// # Errors
    /// [`Error::Gpu`] when memory runs out.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { gpu: gpu.clone(), stamps: Stamps::new(gpu)? })
    }

    /// Runs a recording once, and waits for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device fails.
    pub fn run(&self, recording: &Recording) -> Result<Timed> {
        let gpu = &self.gpu;
        let Some(stamps) = self.stamps.as_ref().filter(|_| recording.submits() == 1) else {
            let start = Stopwatch::start();
            let submission = recording.submit(0)?;
            gpu.wait(Some(submission))?;
            return Ok(Timed { wall: start.elapsed(), device: None });
        };
        let start = Stopwatch::start();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("timer") });
        recording.encode_timed(&mut encoder, Some(stamps.writes()));
        stamps.resolve(&mut encoder);
        let submission = gpu.queue().submit([encoder.finish()]);
        gpu.count(|counters| counters.submits += 1);
        gpu.wait(Some(submission))?;
        let wall = start.elapsed();
        Ok(Timed { wall, device: stamps.read(gpu)? })
    }
}
