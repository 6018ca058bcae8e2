//! The time of each dispatch of a recording by itself.

use std::time::Duration;

use super::{
    Recording,
    counts::waves,
    dispatch::{Dispatch, encode, encode_each_timed},
    stopwatch::Stopwatch,
    timer::Stamps,
};
use crate::Result;

/// A dispatch with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiled {
    /// The kernel, as `name/specialisation`.
    pub label: String,
    /// Seconds by the device's clock; from submit to the end of waiting where it has none.
    pub seconds: f64,
    /// Workgroups.
    pub workgroups: usize,
    /// How often these fill all units.
    pub waves: usize,
    /// Rounds of a workgroup's loops.
    pub rounds: usize,
}

/// Whether dispatches are timed as they run one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// All in one submit, by timestamps between them, where the adapter has those; else each in a submit of its own.
    No,
    /// Each in a submit of its own, waited for.
    Yes,
}

impl Recording {
    /// Runs all dispatches once and times each, on an adapter of so many compute units. Whether timestamps between dispatches can
    /// be believed is the caller's to find out.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Gpu`] if the device fails.
    pub fn profile(&self, units: usize, apart: Apart) -> Result<Vec<Profiled>> {
        let together = if apart == Apart::No { self.times_between()? } else { None };
        let times = together.map_or_else(|| self.times_apart(), Ok)?;
        let profiled = |(dispatch, time): (&Dispatch, Duration)| Profiled {
            label: dispatch.pipeline.label.clone(),
            seconds: time.as_secs_f64(),
            workgroups: dispatch.workgroups.iter().map(|count| *count as usize).product(),
            waves: waves(dispatch.workgroups, units),
            rounds: dispatch.rounds,
        };
        Ok(self.each().zip(times).map(profiled).collect())
    }

    /// By timestamps between dispatches; `None` on an adapter without them, for a recording that takes several submits, and where
    /// they make no sense.
    fn times_between(&self) -> Result<Option<Vec<Duration>>> {
        let gpu = self.gpu();
        let inside = gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);
        if !inside || self.submits() != 1 {
            return Ok(None);
        }
        let Some(stamps) = Stamps::new(gpu, self.dispatches() + 1)? else { return Ok(None) };
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("profile") });
        encode_each_timed(&mut encoder, "profile", &stamps.queries, self.each());
        stamps.resolve(&mut encoder);
        let submission = gpu.queue().submit([encoder.finish()]);
        gpu.wait(Some(submission))?;
        stamps.read(gpu)
    }

    fn times_apart(&self) -> Result<Vec<Duration>> {
        let gpu = self.gpu();
        let stamps = Stamps::new(gpu, 2)?;
        let time = |dispatch: &Dispatch| {
            let start = Stopwatch::start();
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("profile") });
            let writes = stamps.as_ref().map(Stamps::writes);
            encode(&mut encoder, &dispatch.pipeline.label, writes, [(dispatch, dispatch.workgroups)]);
            if let Some(stamps) = &stamps {
                stamps.resolve(&mut encoder);
            }
            let submission = gpu.queue().submit([encoder.finish()]);
            gpu.wait(Some(submission))?;
            let wall = start.elapsed();
            let device = stamps.as_ref().map(|stamps| stamps.read(gpu)).transpose()?.flatten();
            Ok(device.and_then(|between| between.first().copied()).unwrap_or(wall))
        };
        self.each().map(time).collect()
    }
}
