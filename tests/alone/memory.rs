//! Memory that runs out: an error that says how much was wanted and what there is, and a smaller batch goes on.

use std::{fs, process::Command};

use crate::common::{
    self, bits,
    training::{Setting, Tiny, tiny},
};
use softalign::{Error, gpu::AdapterClass, model::BatchShape, train::Trainer};

/// A limit on this process's addresses, a CPU driver's device memory among them, for as long as it lives: what fails under it would
/// not even be told, and no other test would pass.
struct Limited;

impl Limited {
    fn to(bytes: u64) -> Self {
        limit(Some(bytes));
        Self
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        limit(None);
    }
}

/// Lets this process have `bytes` of addresses; `None`: as many as it likes.
fn limit(bytes: Option<u64>) {
    let most = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--as={most}:")]).status().unwrap();
    assert!(status.success());
}

/// Bytes of addresses that this process has.
fn addresses() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// The bits of the parameters after a few steps.
fn trained(Tiny { model, buckets }: &Tiny, trainer: &mut Trainer) -> Vec<u32> {
    for (step, plan) in (1..).zip(buckets.in_order()) {
        trainer.step(&buckets.batch(&plan), step, 7, 1e-2).unwrap();
    }
    bits(&model.gpu, &model.parameters.blocks()[0])
}

#[test]
fn memory_that_runs_out_is_an_error_and_a_smaller_batch_goes_on() {
    let _process = crate::alone();
    let gpu = common::gpu();
    if gpu.class() != AdapterClass::Cpu {
        eprintln!("not tested: a limit on this process is none on this adapter's memory");
        return;
    }
    let setting = Setting::new();
    let undisturbed = tiny(gpu, &setting, 16);
    let expected = trained(&undisturbed, &mut undisturbed.trainer());

    // As large as bindings may be, so that only memory can refuse it.
    let shape = |halvings: usize| BatchShape::new(131_072 >> halvings, 6, 6);
    // The kernels of large batches: under the limit the driver is to compile nothing.
    undisturbed.trainer().prepare(shape(6)).unwrap();

    let small = tiny(gpu, &setting, 16);
    let mut trainer = small.trainer();
    // wgpu takes memory by 128 MiB: three times, and what is left is the host's, which gets no error from its own allocator.
    let limited = Limited::to(addresses() + (448 << 20));
    let mut held = gpu.allocated();
    let refused = (0..=6).rev().find_map(|halvings| {
        let error = trainer.prepare(shape(halvings)).err();
        held = if error.is_none() { gpu.allocated() } else { held };
        error
    });
    let again = trained(&small, &mut trainer);
    let after = gpu.allocated();
    drop(limited);
    let error = refused.expect("there was memory for all of them");
    match &error {
        Error::OutOfMemory { what, need, held, free, .. } => {
            assert!(what.contains("training step") && what.contains("`"), "{what}");
            assert!(*need > 1 << 20, "{need}");
            assert!(held.is_some_and(|bytes| bytes > 0) && free.is_some_and(|bytes| bytes > 0), "{error}");
        }
        other => panic!("{other}"),
    }
    let said = error.to_string();
    for part in ["training step [", "needs ", "memory does not hold them", "free", "smaller batch"] {
        assert!(said.contains(part), "{part} is missing from: {said}");
    }
    assert!(again == expected, "other bits than without the large batch");
    // What was made for the batch that did not fit has gone again; inputs of small batches take little.
    assert!(after <= held.map(|bytes| bytes + (8 << 20)), "{after:?} bytes, {held:?} before");
}
