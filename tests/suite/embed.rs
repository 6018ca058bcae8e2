//! What an application that embeds the crate counts on: values that go from thread to thread, futures instead of waiting, and a
//! device that stays its own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use softalign::{
    Error, Gpu, GpuOptions, Tensor,
    generate::Generator,
    gpu::{Dtype, Recording, adapter},
    graph::{Graph, Parameters, Program, ProgramOptions, Value},
    kernels::Step,
    model::Model,
    wgpu,
};

fn is_send_and_sync<T: Send + Sync>() {}
fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn everything_goes_from_thread_to_thread() {
    is_send_and_sync::<Gpu>();
    is_send_and_sync::<Tensor>();
    is_send_and_sync::<Recording>();
    is_send_and_sync::<Program>();
    is_send_and_sync::<Graph>();
    is_send_and_sync::<Parameters>();
    is_send_and_sync::<Model>();
    is_send_and_sync::<Generator>();
    is_send_and_sync::<Error>();
}

fn squash() -> (Graph, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", [3], Dtype::F32);
    let y = graph.tanh(x).unwrap();
    (graph, y)
}

/// The same numbers come without waiting, in futures that any executor may carry from thread to thread.
#[test]
fn what_waits_has_a_future_that_does_not() {
    let values = pollster::block_on(is_send(async {
        let gpu = Gpu::open_async(&GpuOptions::from_env()).await?;
        let (graph, y) = squash();
        let options = ProgramOptions { label: "squash".into(), outputs: &[y], ..ProgramOptions::default() };
        let mut program = Program::compile_async(&gpu, &graph, &options).await?;
        program.write("x", &[f32::NAN; 3])?;
        program.run(Step::default())?;
        program.write("x", &[-1.0_f32, 0.0, 0.5])?;
        program.run(Step::default())?;
        let values = program.read_async::<f32>(y).await?;
        assert_eq!(values, program.read::<f32>(y)?);
        gpu.wait_async().await?;
        let tensor = gpu.floats("half", [3], Dtype::F16, &values)?;
        assert_eq!(gpu.read_floats_async(&tensor).await?, gpu.read_floats(&tensor)?);
        Ok::<_, Error>(values)
    }))
    .unwrap();
    for (value, x) in values.iter().zip([-1.0_f32, 0.0, 0.5]) {
        assert!((value - x.tanh()).abs() < 1e-6, "{values:?}");
    }
}

/// Its owner's callback is told of the loss as if nobody else used the device, and so is whoever runs something on it.
#[test]
fn a_borrowed_device_keeps_its_callback_and_its_loss_is_an_error() {
    let adapter = adapter::choose(GpuOptions::from_env().adapter.as_deref()).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let callback = told.clone();
    device.set_device_lost_callback(move |_, _| callback.store(true, Ordering::Relaxed));
    device.on_uncaptured_error(Arc::new(|error| panic!("{error}")));
    let gpu = Gpu::from_wgpu(device.clone(), queue, &GpuOptions::default());
    let (graph, y) = squash();
    let options = ProgramOptions { label: "squash".into(), outputs: &[y], ..ProgramOptions::default() };
    let mut program = Program::compile(&gpu, &graph, &options).unwrap();
    program.run(Step { step: 7, ..Step::default() }).unwrap();
    gpu.wait(None).unwrap();
    device.destroy();
    for error in [
        program.run(Step { step: 8, ..Step::default() }).unwrap_err(),
        program.read::<f32>(y).unwrap_err(),
        pollster::block_on(program.read_async::<f32>(y)).unwrap_err(),
        pollster::block_on(gpu.wait_async()).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::DeviceLost { program, step: 7, .. } if program == "squash"), "{error}");
    }
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
    assert!(told.load(Ordering::Relaxed));
}
