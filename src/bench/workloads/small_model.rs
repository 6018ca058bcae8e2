//! The shapes of W5 S, shared by workloads: 128 rows of 12 steps, vocabularies of 32 and 75, sizes of 256.

use super::{
    super::{
        Subject, Work, Workload,
        problem::{Operand, Problem},
    },
    Passes, tolerance,
};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
};

pub(super) const BATCH: usize = 128;
pub(super) const STEPS: usize = 12;
pub(super) const ROWS: usize = BATCH * STEPS;
pub(super) const CLASSES: usize = 75;
pub(super) const SIZE: usize = 256;

/// A workload for each number of passes.
pub(super) fn each_pass(key: &str, prepare: fn(&Gpu, Passes) -> Result<Subject>) -> Vec<Workload> {
    let workload = |passes: Passes| Workload::new(format!("{key}/{}", passes.key()), move |gpu| prepare(gpu, passes));
    Passes::ALL.map(workload).into()
}

/// Values from 0 to 1 in the shape of the attention's weights.
pub(super) fn shares(problem: &mut Problem) -> Operand {
    let values: Vec<f32> = problem.values(ROWS * STEPS, 1.0).into_iter().map(f32::abs).collect();
    problem.floats(&[BATCH, STEPS, STEPS], &values)
}

/// A recording, with a check of the tensors that it has left.
pub(super) fn recorded(
    gpu: &Gpu,
    record: impl FnOnce(&mut Recorder) -> Result<()>,
    scratch: u64,
    check: impl FnOnce(&Gpu) -> Result<f64> + 'static,
) -> Result<Subject> {
    let mut recorder = Recorder::new(gpu, "bench");
    record(&mut recorder)?;
    let gpu = gpu.clone();
    Ok(Subject {
        work: Work::Recording(recorder.finish()?),
        check: Box::new(move |work| {
            work.run(&gpu)?;
            check(&gpu)
        }),
        tolerance: tolerance(Dtype::F32),
        operations: None,
        tokens: None,
        scratch,
        label: None,
    })
}
