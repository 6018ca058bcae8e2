//! The same seed gives the same bits, whatever else the adapter does: another thread on the same device, another device of this
//! process, another process.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::common::{
    self,
    training::{Setting, run, state},
};
use softalign::{
    Gpu, GpuOptions,
    validate::{self, Cases},
};

const STEPS: u64 = 12;

/// Checks of one kernel after another until told to stop; at least one of them.
fn keep_busy(gpu: &Gpu, stop: &AtomicBool) {
    let checks = validate::checks();
    for seed in 1.. {
        for check in checks.iter().filter(|check| ["matmul", "softmax", "reduction"].contains(&check.kernel)) {
            if seed > 1 && stop.load(Ordering::Relaxed) {
                return;
            }
            if check.runs_on(gpu) {
                assert!(validate::run(gpu, check, Cases::exactly(1), seed).unwrap().passed, "{} {seed}", check.kernel);
            }
        }
    }
}

#[test]
fn other_work_on_the_adapter_changes_no_bit() {
    let setting = Setting::new();
    let alone = setting.out("alone");
    run(&setting.options, STEPS, &alone).unwrap();

    let mut process = Command::new(env!("CARGO_BIN_EXE_softalign"))
        .args(["validate", "--quiet", "--only", "softmax", "--cases", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let device = Gpu::open(&GpuOptions::default()).unwrap();
    let stop = AtomicBool::new(false);
    let busy = setting.out("busy");
    thread::scope(|scope| {
        let stop = &stop;
        let workers = [common::gpu(), &device].map(|gpu| scope.spawn(move || keep_busy(gpu, stop)));
        let outcome = run(&setting.options, STEPS, &busy);
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert!(process.try_wait().unwrap().is_none(), "the other process had ended before");
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(state(&alone) == state(&busy), "other work on the adapter changed some bits");
}
