//! Ceilings: the best rates of the adapter, against which every other figure is set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Clock, measure};
use crate::{
    Error, Result,
    gpu::{AdapterClass, Apart, Cost, Dtype, Gpu, Recorder, Recording, Timer, UNITS},
    kernels::ceiling::{Arithmetic, CHAINS, Memory, STEPS, Step},
    validate::relative_error,
};

/// The time that a microkernel should run, in seconds: long against a submit, short for the user.
const AIM: f64 = 0.03;

/// The time for which each is repeated.
const BUDGET: Duration = Duration::from_millis(300);

/// Rounds of an arithmetic microkernel.
const ROUNDS: usize = 256;

/// Dispatches that are timed together.
const DISPATCHES: usize = 256;

/// tanh errs by 4e-7, sums of twelve chains and exp by less.
const TOLERANCE: f64 = 2e-6;

/// Rounds of the shorter and the longer of two dispatches whose times must not be taken for each other's.
const UNLIKE: [usize; 2] = [64, 1024];

/// The adapter's limits. Rates are those of the fastest repetition: what the adapter can do if nothing disturbs it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Fused multiply-adds, two operations each, in 1e9 a second.
    pub fma_gflops: f64,
    /// Reciprocals, each with an addition, in 1e9 a second.
    pub reciprocal_gops: f64,
    /// Exponentials, in 1e9 a second.
    pub exp_gops: f64,
    /// The crate's own tanh, in 1e9 a second.
    pub tanh_gops: f64,
    /// Storage read, in 1e9 bytes a second.
    pub storage_gbps: f64,
    /// Storage read and written, in 1e9 bytes a second, both counted.
    pub copy_gbps: f64,
    /// One more dispatch in a pass, in microseconds.
    pub dispatch_us: f64,
    /// Submitting one dispatch and waiting for it, in microseconds.
    pub submit_us: f64,
    /// Whose time this is.
    pub clock: Clock,
}

impl Ceilings {
    /// Runs the microkernels, each checked first.
    ///
    /// # Errors
    /// [`Error::Gpu`] if a microkernel computes something else than it should; the errors of the device.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        let timer = Timer::new(gpu)?;
        let submit = submit_seconds(gpu)?;
        let run = Run { gpu, timer: &timer, submit };
        let dispatch = run.dispatch_seconds()?;
        let (fma, clock) = run.arithmetic(Step::MultiplyAdd)?;
        Ok(Self {
            fma_gflops: 2e-9 * fma,
            reciprocal_gops: 1e-9 * run.arithmetic(Step::Reciprocal)?.0,
            exp_gops: 1e-9 * run.arithmetic(Step::Exponential)?.0,
            tanh_gops: 1e-9 * run.arithmetic(Step::Tanh)?.0,
            storage_gbps: 1e-9 * run.memory(false)?,
            copy_gbps: 1e-9 * run.memory(true)?,
            dispatch_us: 1e6 * dispatch,
            submit_us: 1e6 * submit,
            clock,
        })
    }

    /// The least time for some work, in seconds, and whether arithmetic or memory decides. Exponentials, divisions and roots
    /// count at the faster of their two measured rates, bytes likewise.
    pub fn least(&self, cost: &Cost) -> (f64, f64) {
        let transcendental = self.reciprocal_gops.max(self.exp_gops);
        let arithmetic = cost.operations / self.fma_gflops + cost.transcendental / transcendental;
        let memory = (cost.read + cost.written) / self.storage_gbps.max(self.copy_gbps);
        (1e-9 * arithmetic, 1e-9 * memory)
    }
}

/// The multiply-add ceiling, read again and again between measurements: where it moves, the adapter's clock does.
#[derive(Debug)]
pub struct Drift {
    timer: Timer,
    recording: Recording,
    /// Operations of the recording.
    operations: f64,
    /// 1e9 operations a second, in the order of reading.
    readings: Vec<f64>,
}

impl Drift {
    /// Prepares a kernel of about 30 ms at the ceiling.
    ///
    /// # Errors
    /// The errors of the device.
    pub fn new(gpu: &Gpu, ceilings: &Ceilings) -> Result<Self> {
        let each = Arithmetic { step: Step::MultiplyAdd, rounds: ROUNDS, workgroups: 64 };
        let of_64 = 2.0 * each.steps(gpu.tiles());
        let most = gpu.limits().max_compute_workgroups_per_dimension as usize / 64;
        let times = ((1e9 * ceilings.fma_gflops * AIM / of_64) as usize).clamp(1, most);
        let kernel = Arithmetic { workgroups: 64 * times, ..each };
        let y = gpu.zeros("ceiling", [64], Dtype::F32)?;
        let recording = record(gpu, |recorder| kernel.record(recorder, &y))?;
        Ok(Self { timer: Timer::new(gpu)?, recording, operations: times as f64 * of_64, readings: Vec::new() })
    }

    /// Reads the ceiling once, by the wall's clock.
    ///
    /// # Errors
    /// The errors of the device.
    pub fn read(&mut self) -> Result<f64> {
        let seconds = self.timer.run(&self.recording)?.wall.as_secs_f64();
        let rate = 1e-9 * self.operations / seconds;
        self.readings.push(rate);
        Ok(rate)
    }

    /// The least, the median and the most of what was read, in 1e9 operations a second; `None` before the first reading.
    pub fn range(&self) -> Option<[f64; 3]> {
        let least = self.readings.iter().copied().min_by(f64::total_cmp)?;
        let most = self.readings.iter().copied().max_by(f64::total_cmp)?;
        Some([least, measure::median(self.readings.clone()), most])
    }
}

/// How dispatches are to be timed on an adapter: apart, unless timestamps between them are charged to the right ones. Of two that take
/// very different times and wait for each other, the longer must take longer, whichever comes first.
///
/// # Errors
/// The errors of the device.
pub fn timed_apart(gpu: &Gpu) -> Result<Apart> {
    let y = gpu.zeros("ceiling", [64], Dtype::F32)?;
    for longer in [0, 1] {
        let rounds = if longer == 0 { [UNLIKE[1], UNLIKE[0]] } else { UNLIKE };
        let recording = record(gpu, |recorder| {
            let kernel = |rounds| Arithmetic { step: Step::MultiplyAdd, rounds, workgroups: 64 };
            rounds.into_iter().try_for_each(|rounds| kernel(rounds).record(recorder, &y))
        })?;
        recording.profile(UNITS, Apart::No)?;
        let times = recording.profile(UNITS, Apart::No)?;
        let least = 0.25 * (UNLIKE[1] / UNLIKE[0]) as f64;
        if times[longer].seconds < least * times[1 - longer].seconds {
            return Ok(Apart::Yes);
        }
    }
    Ok(Apart::No)
}

fn record(gpu: &Gpu, record: impl FnOnce(&mut Recorder) -> Result<()>) -> Result<Recording> {
    let mut recorder = Recorder::new(gpu, "ceiling");
    record(&mut recorder)?;
    recorder.finish()
}

/// Dispatches that do almost nothing: they copy a few vec4s. Not a loop of no rounds: lavapipe 22.3 compiles a shader anew at
/// each dispatch whose loop bounds and conditions, taken as constants, make half of it vanish.
fn nothing(gpu: &Gpu, dispatches: usize) -> Result<Recording> {
    const VECTORS: usize = 64;
    let [x, y] = [gpu.zeros("ceiling", [VECTORS, 4], Dtype::F32)?, gpu.zeros("ceiling", [VECTORS, 4], Dtype::F32)?];
    let nothing = Memory { vectors: VECTORS, each: 1, copy: true };
    record(gpu, |recorder| (0..dispatches).try_for_each(|_| nothing.record(recorder, &x, &y)))
}

fn submit_seconds(gpu: &Gpu) -> Result<f64> {
    let recording = nothing(gpu, 1)?;
    let timing = measure::wall(BUDGET, || {
        let submission = recording.submit(0)?;
        gpu.wait(Some(submission))
    })?;
    Ok(timing.median)
}

struct Run<'a> {
    gpu: &'a Gpu,
    timer: &'a Timer,
    submit: f64,
}

impl Run<'_> {
    fn time(&self, recording: &Recording) -> Result<measure::Timing> {
        measure::recording(self.timer, recording, self.submit, BUDGET)
    }

    fn dispatch_seconds(&self) -> Result<f64> {
        let many = self.time(&nothing(self.gpu, DISPATCHES)?)?;
        let one = if many.clock == Clock::Wall { self.submit } else { 0.0 };
        Ok((many.median - one).max(0.0) / DISPATCHES as f64)
    }

    /// Steps a second.
    fn arithmetic(&self, step: Step) -> Result<(f64, Clock)> {
        let y = self.gpu.zeros("ceiling", [64], Dtype::F32)?;
        let prepare = |workgroups| {
            let kernel = Arithmetic { step, rounds: ROUNDS, workgroups };
            Ok((kernel, record(self.gpu, |recorder| kernel.record(recorder, &y))?))
        };
        // From a first short run follows how much work there must be; twice, as the first may be too short to be timed well.
        let (mut kernel, mut recording): (Arithmetic, Recording) = prepare(64)?;
        self.timer.run(&recording)?;
        for _ in 0..2 {
            let seconds = self.time(&recording)?.fastest;
            let most = self.gpu.limits().max_compute_workgroups_per_dimension as usize;
            let wanted = kernel.workgroups as f64 * AIM / seconds.max(1e-7);
            // Workgroups are dealt out evenly: multiples of many cores leave none idle.
            (kernel, recording) = prepare((wanted as usize).next_multiple_of(64).clamp(64, most))?;
        }
        self.timer.run(&recording)?;
        self.check(step.name(), &self.gpu.read(&y)?, &chains(step))?;
        let timing = self.time(&recording)?;
        Ok((kernel.steps(self.gpu.tiles()) / timing.fastest, timing.clock))
    }

    /// Bytes a second.
    fn memory(&self, copy: bool) -> Result<f64> {
        // Past the last cache where an adapter has its own memory, and within every adapter's binding limit.
        let most = if self.gpu.class() == AdapterClass::Cpu { 64 << 20 } else { 128 << 20 };
        let bytes = self.gpu.limits().max_storage_buffer_binding_size.min(most) as usize;
        let vectors = (bytes / 16) & !15;
        let values: Vec<f32> = (0..4 * vectors).map(|i| (i % 8191) as f32).collect();
        let x = self.gpu.tensor("ceiling", [vectors, 4], Dtype::F32, &values)?;
        let mut best = 0.0_f64;
        for each in Memory::EACH {
            let kernel = Memory { vectors, each, copy };
            let (rows, label) = if copy { (vectors, "copy") } else { (vectors / each, "read") };
            let y = self.gpu.zeros("ceiling", [rows, 4], Dtype::F32)?;
            let recording = record(self.gpu, |recorder| kernel.record(recorder, &x, &y))?;
            self.timer.run(&recording)?;
            let sums = if copy { values.iter().map(|x| f64::from(*x)).collect() } else { sums(&values, each) };
            self.check(label, &self.gpu.read(&y)?, &sums)?;
            let cost = kernel.cost();
            best = best.max((cost.read + cost.written) / self.time(&recording)?.fastest);
        }
        Ok(best)
    }

    fn check(&self, what: &str, found: &[f32], expected: &[f64]) -> Result<()> {
        let error = relative_error(found, expected, 0.0);
        if error <= TOLERANCE {
            return Ok(());
        }
        let message = format!("a wrong result, off by {error:.1e}; its rate would mean nothing");
        Err(Error::Gpu { kernel: format!("ceiling microkernel `{what}`"), message })
    }
}

/// The sum of the chains' ends, for the first invocations.
fn chains(step: Step) -> Vec<f64> {
    let chain = |start: f64| (0..STEPS * ROUNDS).fold(start, |x, _| step.reference(x));
    (0..64)
        .map(|invocation| {
            (1..=CHAINS).map(|chain_number| chain(invocation as f64 / 64.0 + 0.1 * chain_number as f64)).sum()
        })
        .collect()
}

/// Of every `each` vec4s that one invocation reads.
fn sums(values: &[f32], each: usize) -> Vec<f64> {
    let invocations = values.len() / each;
    (0..invocations).map(|i| (0..each).map(|j| f64::from(values[i + j * invocations])).sum()).collect()
}
