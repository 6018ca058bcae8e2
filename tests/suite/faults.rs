//! What happens when the device goes away, a shader is wrong or a limit is too small: a typed error that says what and where.

use std::{cell::Cell, sync::mpsc::channel, thread, time::Duration};

use crate::common::{
    self,
    training::{self, Setting},
};
use softalign::{
    Error, Gpu, GpuOptions,
    gpu::{Dtype, Launch, Recorder, Shader, Specialisation},
    graph::{Graph, Program, ProgramOptions},
    kernels::{SHARED, Step},
    train::{Destination, TrainOptions, train},
};

/// A device of its own, since the tests destroy it.
fn open(options: &GpuOptions) -> Gpu {
    Gpu::open(options).unwrap_or_else(|error| panic!("{error}"))
}

fn program(gpu: &Gpu) -> Program {
    let mut graph = Graph::new();
    let x = graph.input("x", [64], Dtype::F32);
    let y = graph.tanh(x).unwrap();
    let outputs = [graph.sum(y).unwrap()];
    let options = ProgramOptions { label: "squash".into(), outputs: &outputs, ..ProgramOptions::default() };
    Program::compile(gpu, &graph, &options).unwrap()
}

#[test]
fn a_lost_device_is_an_error_that_names_the_program_and_the_step() {
    let gpu = open(&GpuOptions::default());
    let mut program = program(&gpu);
    program.run(Step { step: 7, ..Step::default() }).unwrap();
    gpu.device().destroy();
    let error =
        (8..12).find_map(|step| program.run(Step { step, ..Step::default() }).err()).expect("the device is gone");
    match &error {
        Error::DeviceLost { program, step, .. } => {
            assert_eq!(program, "squash");
            assert!((7..12).contains(step), "{step}");
        }
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("lost in squash at step"), "{error}");
}

#[test]
fn a_trace_names_the_kernel() {
    let gpu = open(&GpuOptions { trace: true, ..GpuOptions::default() });
    let mut program = program(&gpu);
    let before = gpu.counters().submits;
    program.run(Step { step: 1, ..Step::default() }).unwrap();
    assert!(gpu.counters().submits - before >= program.recording().dispatches() as u64, "one submit per dispatch");
    gpu.device().destroy();
    let error =
        (2..5).find_map(|step| program.run(Step { step, ..Step::default() }).err()).expect("the device is gone");
    assert!(error.to_string().contains("squash, dispatch"), "{error}");
}

static WIDE: Shader = Shader::new(
    "wide",
    "var<workgroup> tile: array<vec4f, 65536>;
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(1) fn main() { tile[size.x] = y[0]; y[0] = tile[size.y]; }",
    SHARED,
);

static WRONG: Shader = Shader::new(
    "wrong",
    "#import math
@compute @workgroup_size(1)
fn main() { let x: u32 = tanh1(1.0); }",
    SHARED,
);

#[test]
fn workgroup_memory_past_the_limit_is_refused_before_the_driver_sees_it() {
    let error = common::gpu().pipeline(&WIDE, &Specialisation::new()).unwrap_err();
    match error {
        Error::Limit { need, limit, .. } => {
            assert_eq!((need, limit), (1 << 20, "max_compute_workgroup_storage_size"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_wrong_shader_is_an_error_in_the_original_file() {
    let error = common::gpu().pipeline(&WRONG, &Specialisation::new()).unwrap_err().to_string();
    assert!(error.contains("wrong.wgsl:3"), "{error}");
}

#[test]
fn tensors_and_dispatches_past_the_limits_say_limit_need_and_remedy() {
    let gpu = common::gpu();
    let limit = gpu.limits().max_storage_buffer_binding_size.min(gpu.limits().max_buffer_size);
    let error = gpu.zeros("huge", [limit as usize / 4 + 1], Dtype::F32).unwrap_err();
    assert!(matches!(&error, Error::Limit { need, have, .. } if *need > limit && *have == limit), "{error}");
    assert!(error.to_string().contains("smaller batch"), "{error}");

    let x = gpu.zeros("x", [4], Dtype::F32).unwrap();
    let mut recorder = Recorder::new(gpu, "too many");
    let result = recorder.dispatch(&Launch {
        kernel: softalign::kernels::SHADERS.iter().find(|shader| shader.name == "dropout").unwrap(),
        specialisation: Specialisation::new().constant("LANES", 64),
        params: &[4],
        tensors: &[&x, &x, &x],
        workgroups: [1 << 20, 1, 1],
        cost: Default::default(),
    });
    assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
}

/// Destroyed between the batches of a step, and by another thread while the device is at work.
#[test]
fn a_run_whose_device_is_lost_in_a_step_goes_on_from_its_last_checkpoint() {
    const STEPS: u64 = 6;
    let setting = Setting::new();
    let options = TrainOptions { accumulate: 3, validate_every: Some(2), ema: Some(0.9), ..setting.options.clone() };
    let whole = setting.out("whole");
    training::run(&options, STEPS, &whole).unwrap();
    for (at, at_work) in [(1, false), (8, false), (5, true)] {
        let out = setting.out(&format!("lost at {at}"));
        let gpu = open(&GpuOptions::default());
        let batches = Cell::new(0);
        let error = thread::scope(|scope| {
            let (now, asked) = channel::<()>();
            let device = gpu.device().clone();
            scope.spawn(move || {
                if asked.recv().is_ok() {
                    thread::sleep(Duration::from_millis(2));
                    device.destroy();
                }
            });
            let stop = || {
                batches.set(batches.get() + 1);
                if batches.get() == at {
                    if at_work { now.send(()).unwrap() } else { gpu.device().destroy() }
                }
                false
            };
            train(
                &gpu,
                &options,
                training::steps(STEPS),
                Destination { folder: &out, overwrite: false },
                &stop,
                &mut |_| {},
            )
            .unwrap_err()
        });
        match &error {
            Error::DeviceLost { program, step, .. } => {
                assert!(!program.is_empty() && *step <= STEPS, "{error}");
                if !at_work {
                    assert!(program.starts_with("training step [") && *step >= 1, "{error}");
                }
                if at == 1 {
                    assert_eq!(*step, 1);
                }
            }
            other => panic!("batch {at}: {other}"),
        }
        assert!(error.to_string().contains("resumes from its last checkpoint"), "{error}");
        let outcome = training::run(&options, STEPS, &out).unwrap();
        assert!(
            outcome.progress.finished && training::state(&out) == training::state(&whole),
            "batch {at}: other bits"
        );
    }
}
