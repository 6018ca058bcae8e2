//! The time of each dispatch of a recording by itself.

use super::{Recording, counts::waves, dispatch::encode, stopwatch::Stopwatch, timer::Stamps};
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

impl Recording {
    /// Runs all dispatches once, each for itself, on an adapter of so many compute units.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Gpu`] if the device fails.
    pub fn profile(&self, units: usize) -> Result<Vec<Profiled>> {
        let gpu = self.gpu().clone();
        let stamps = Stamps::new(&gpu)?;
        self.each()
            .map(|dispatch| {
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
                let device = stamps.as_ref().map(|stamps| stamps.read(&gpu)).transpose()?.flatten();
                Ok(Profiled {
                    label: dispatch.pipeline.label.clone(),
                    seconds: device.unwrap_or(wall).as_secs_f64(),
                    workgroups: dispatch.workgroups.iter().map(|count| *count as usize).product(),
                    waves: waves(dispatch.workgroups, units),
                    rounds: dispatch.rounds,
                })
            })
            .collect()
    }
}
