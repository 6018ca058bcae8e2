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

/// Places for the device's time.
#[derive(Debug)]
pub(super) struct Stamps {
    pub(super) queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    count: u32,
}

impl Stamps {
    /// Room for `count` timestamps; `None` on an adapter without a clock, or with more than a set of queries holds.
    pub fn new(gpu: &Gpu, count: usize) -> Result<Option<Self>> {
        if !gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
            || count > wgpu::QUERY_SET_MAX_QUERIES as usize
        {
            return Ok(None);
        }
        let (count, bytes) = (count as u32, count as u64 * TIMESTAMP);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Ok(Some(Self {
            queries: gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            resolved: gpu.raw_buffer("timestamps", bytes, usage)?,
            readback: gpu.readback_buffer("timestamps", bytes)?,
            count,
        }))
    }

    /// What a pass writes into the first two, before and after it.
    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Behind the pass.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, u64::from(self.count) * TIMESTAMP);
    }

    /// The time from each to the next, once the pass has ended; `None` where they make no sense: time never goes back, nor does it
    /// stand still all along.
    pub fn read(&self, gpu: &Gpu) -> Result<Option<Vec<Duration>>> {
        self.readback.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        gpu.wait(None)?;
        let ticks: Vec<u64> = {
            let mapped = self.readback.slice(..u64::from(self.count) * TIMESTAMP).get_mapped_range();
            let mapped = mapped.map_err(|error| Error::Gpu { kernel: "timer".into(), message: error.to_string() })?;
            bytemuck::pod_collect_to_vec(&mapped)
        };
        self.readback.unmap();
        if !ticks.is_sorted() || ticks.first() == ticks.last() {
            return Ok(None);
        }
        let period = f64::from(gpu.queue().get_timestamp_period());
        let between = |pair: &[u64]| Duration::try_from_secs_f64((pair[1] - pair[0]) as f64 * period * 1e-9).ok();
        Ok(ticks.windows(2).map(between).collect())
    }
}

impl Timer {
    /// A timer; it uses the device's clock if there is one.
    ///
    /// # Errors
    /// [`Error::Gpu`] when memory runs out.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { gpu: gpu.clone(), stamps: Stamps::new(gpu, 2)? })
    }

    /// Runs a recording once, and waits for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device fails.
    pub fn run(&self, recording: &Recording) -> Result<Timed> {
        self.run_repeatedly(recording, 1)
    }

    /// The time of one of `repeats` runs, one behind the other in one submit: the device has no time to idle between them. A
    /// recording that takes several submits by itself is run once.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device fails.
    pub fn run_repeatedly(&self, recording: &Recording, repeats: u32) -> Result<Timed> {
        let gpu = &self.gpu;
        let repeats = repeats.max(1);
        let Some(stamps) = self.stamps.as_ref().filter(|_| recording.submits() == 1) else {
            let start = Stopwatch::start();
            let submission = recording.submit(0)?;
            gpu.wait(Some(submission))?;
            return Ok(Timed { wall: start.elapsed(), device: None });
        };
        let start = Stopwatch::start();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("timer") });
        recording.encode_repeatedly(&mut encoder, Some(stamps.writes()), repeats as usize);
        stamps.resolve(&mut encoder);
        let submission = gpu.queue().submit([encoder.finish()]);
        gpu.count(|counters| counters.submits += 1);
        gpu.wait(Some(submission))?;
        let wall = start.elapsed() / repeats;
        let device = stamps.read(gpu)?.map(|between| between.iter().sum::<Duration>() / repeats);
        Ok(Timed { wall, device })
    }
}
