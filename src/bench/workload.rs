//! A named piece of work: prepared, compared with the reference, then timed.

use std::time::Duration;

use super::{Bound, Ceilings, Row, Timing, measure};
use crate::{
    Error, Gpu, Result,
    gpu::{Cost, Dtype, Recording, Timer},
    graph::Program,
};

/// Something to measure, by its name.
pub struct Workload {
    key: String,
    dtype: Dtype,
    prepare: Box<Prepare>,
}

type Prepare = dyn Fn(&Gpu) -> Result<Subject>;

/// Runs the work and returns the worst relative error of its output against the reference.
pub type Check = Box<dyn FnOnce(&mut Work) -> Result<f64>>;

/// A prepared workload.
pub struct Subject {
    /// The work that is timed.
    pub work: Work,
    /// Computes the error of the output.
    pub check: Check,
    /// The largest error that is no mistake.
    pub tolerance: f64,
    /// Operations by the workload's own definition, where that is not the kernels' [`Cost`].
    pub operations: Option<f64>,
    /// Target tokens of a run.
    pub tokens: Option<f64>,
    /// Bytes of what the work keeps beside its inputs and outputs.
    pub scratch: u64,
    /// A remark about the figures.
    pub label: Option<String>,
}

/// The work that is timed.
pub enum Work {
    /// The dispatches of a graph, its inputs in place.
    Program(Box<Program>),
    /// Dispatches.
    Recording(Recording),
    /// Anything that has ended when it returns, and what it costs.
    Steps(Box<dyn FnMut() -> Result<()>>, Cost),
}

impl Work {
    fn recording(&self) -> Option<&Recording> {
        match self {
            Self::Program(program) => Some(program.recording()),
            Self::Recording(recording) => Some(recording),
            Self::Steps(..) => None,
        }
    }

    /// The operations and bytes of one run.
    pub fn cost(&self) -> Cost {
        match self {
            Self::Steps(_, cost) => *cost,
            Self::Program(program) => program.recording().cost(),
            Self::Recording(recording) => recording.cost(),
        }
    }

    /// Runs once, and waits.
    ///
    /// # Errors
    /// The errors of the device.
    pub fn run(&mut self, gpu: &Gpu) -> Result<()> {
        if let Self::Steps(run, _) = self {
            return run();
        }
        let submission = self.recording().map(|recording| recording.submit(0)).transpose()?;
        gpu.wait(submission)
    }

    fn time(&mut self, timer: &Timer, ceilings: &Ceilings, budget: Duration) -> Result<Timing> {
        match self {
            Self::Steps(run, _) => measure::wall(budget, run),
            Self::Program(program) => measure::recording(timer, program.recording(), overhead(ceilings), budget),
            Self::Recording(recording) => measure::recording(timer, recording, overhead(ceilings), budget),
        }
    }
}

fn overhead(ceilings: &Ceilings) -> f64 {
    1e-6 * ceilings.submit_us
}

impl Workload {
    /// A workload of the caller's own, in f32.
    pub fn new(key: impl Into<String>, prepare: impl Fn(&Gpu) -> Result<Subject> + 'static) -> Self {
        Self { key: key.into(), dtype: Dtype::F32, prepare: Box::new(prepare) }
    }

    /// A workload with activations of `dtype`; in f16 its name says so at its end.
    pub(super) fn of(dtype: Dtype, key: String, prepare: impl Fn(&Gpu) -> Result<Subject> + 'static) -> Self {
        let key = if dtype == Dtype::F16 { format!("{key}/{dtype}") } else { key };
        Self { dtype, ..Self::new(key, prepare) }
    }

    /// Whether an adapter has the element type.
    pub fn runs_on(&self, gpu: &Gpu) -> bool {
        self.dtype != Dtype::F16 || gpu.tiles().f16
    }

    /// Makes its inputs and its Program.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn prepare(&self, gpu: &Gpu) -> Result<Subject> {
        (self.prepare)(gpu)
    }

    /// Its name, such as `W2/B8_T128_S128_H512/fwd`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Compares the output with the reference, and times the work for about `budget` if it is right. What goes wrong is in
    /// the row.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]: nothing more can be measured.
    pub fn measure(&self, gpu: &Gpu, ceilings: &Ceilings, budget: Duration) -> Result<Row> {
        match self.try_measure(gpu, ceilings, budget) {
            Err(error) if !matches!(error, Error::DeviceLost { .. }) => Ok(Row::failed(&self.key, error.to_string())),
            other => other,
        }
    }

    fn try_measure(&self, gpu: &Gpu, ceilings: &Ceilings, budget: Duration) -> Result<Row> {
        let before = gpu.counters();
        let Subject { mut work, check, tolerance, operations, tokens, scratch, label } = self.prepare(gpu)?;
        let bytes = gpu.counters().bytes - before.bytes;
        let error = check(&mut work)?;
        if error.is_nan() || error > tolerance {
            let message = format!("wrong: off by {error:.1e} from the reference, and {tolerance:.0e} is allowed");
            return Ok(Row { error: Some(error), ..Row::failed(&self.key, message) });
        }
        let before = gpu.counters();
        work.run(gpu)?;
        let after = gpu.counters();
        let timing = work.time(&Timer::new(gpu)?, ceilings, budget)?;
        // Without operations or bytes there is no rate.
        let some = |figure: f64| (figure.is_finite() && figure > 0.0).then_some(figure);
        let (cost, seconds) = (work.cost(), timing.median);
        let (arithmetic, memory) = ceilings.least(&cost);
        Ok(Row {
            workload: self.key.clone(),
            ms: Some(1e3 * seconds),
            spread_ms: Some(1e3 * timing.spread),
            fastest_ms: Some(1e3 * timing.fastest),
            wall_ms: Some(1e3 * timing.wall),
            clock: Some(timing.clock),
            repetitions: timing.repetitions,
            gflops: some(1e-9 * operations.unwrap_or(cost.operations) / seconds),
            gbps: some(1e-9 * (cost.read + cost.written) / seconds),
            tokens_per_s: tokens.map(|tokens| tokens / seconds),
            ceiling_percent: some(100.0 * arithmetic.max(memory) / seconds),
            bound: some(arithmetic.max(memory))
                .map(|_| if arithmetic >= memory { Bound::Arithmetic } else { Bound::Memory }),
            operations_per_byte: some(cost.operations / (cost.read + cost.written)),
            counted_gflops: some(1e-9 * cost.operations / seconds),
            dispatches: after.dispatches - before.dispatches,
            submits: after.submits - before.submits,
            bytes,
            scratch_bytes: scratch,
            error: Some(error),
            label,
            failure: None,
        })
    }
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workload").field("key", &self.key).finish_non_exhaustive()
    }
}
