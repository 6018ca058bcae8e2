//! A training step of the default model by kernel: where its time goes, and what it asks of any adapter.

use std::collections::BTreeMap;

use super::{ModelSize, ceilings::timed_apart, measure::median};
use crate::{
    Gpu, Result,
    gpu::{Apart, Counts, Dtype, Profiled, UNITS},
};

/// How often each dispatch is timed.
const REPETITIONS: usize = 3;

/// The dispatches of one kernel, together.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelProfile {
    /// Its name.
    pub kernel: String,
    /// Dispatches.
    pub dispatches: usize,
    /// Seconds: the sum of each dispatch's median.
    pub seconds: f64,
    /// Workgroups of a dispatch: the most.
    pub workgroups: usize,
    /// How often these fill all units.
    pub waves: usize,
    /// As [`Counts::serial_rounds`].
    pub serial_rounds: usize,
}

/// A training step by kernel, the slowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingProfile {
    /// Each kernel.
    pub kernels: Vec<KernelProfile>,
    /// The step, counted.
    pub counts: Counts,
    /// How dispatches were timed: apart where timestamps between them cannot be believed ([`timed_apart`]).
    pub apart: Apart,
}

impl TrainingProfile {
    /// Makes a step of W5, for which the adapter compiles, then times each dispatch of some more.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn of(gpu: &Gpu, size: &ModelSize) -> Result<Self> {
        let mut trainer = size.trainer(gpu, Dtype::F32)?;
        trainer.step(&size.batch(), 1, 1, 0.0)?;
        gpu.wait(None)?;
        let recording = trainer.prepare(size.shape())?.recording();
        let apart = timed_apart(gpu)?;
        recording.profile(UNITS, apart)?;
        let mut runs = (0..REPETITIONS).map(|_| recording.profile(UNITS, apart)).collect::<Result<Vec<_>>>()?;
        let Some(last) = runs.pop() else {
            return Ok(Self { kernels: Vec::new(), counts: recording.counts(UNITS), apart });
        };
        let mut kernels = BTreeMap::new();
        for (index, dispatch) in last.iter().enumerate() {
            let of_run = runs.iter().filter_map(|run| run.get(index));
            let seconds = of_run.chain([dispatch]).map(|dispatch| dispatch.seconds).collect();
            add(&mut kernels, dispatch, median(seconds));
        }
        let mut kernels: Vec<_> = kernels.into_values().collect();
        kernels.sort_by(|one: &KernelProfile, other| other.seconds.total_cmp(&one.seconds));
        Ok(Self { kernels, counts: recording.counts(UNITS), apart })
    }

    /// What a step of W5 asks of any adapter, without running it.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn counts(gpu: &Gpu, size: &ModelSize) -> Result<Counts> {
        let mut trainer = size.trainer(gpu, Dtype::F32)?;
        Ok(trainer.prepare(size.shape())?.recording().counts(UNITS))
    }

    /// Seconds of all dispatches.
    pub fn seconds(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.seconds).sum()
    }
}

fn add(kernels: &mut BTreeMap<String, KernelProfile>, dispatch: &Profiled, seconds: f64) {
    // The name may have a folder; the specialisation follows the last slash.
    let name = dispatch.label.rsplit_once('/').map_or(dispatch.label.as_str(), |(name, _)| name);
    let kernel = kernels.entry(name.to_owned()).or_insert_with(|| KernelProfile {
        kernel: name.to_owned(),
        dispatches: 0,
        seconds: 0.0,
        workgroups: 0,
        waves: 0,
        serial_rounds: 0,
    });
    kernel.dispatches += 1;
    kernel.seconds += seconds;
    kernel.workgroups = kernel.workgroups.max(dispatch.workgroups);
    kernel.waves = kernel.waves.max(dispatch.waves);
    kernel.serial_rounds += dispatch.rounds * dispatch.waves;
}
