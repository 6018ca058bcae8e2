//! Door one: kernels recorded on the caller's own wgpu device, into the caller's own command encoder.
//!
//!     cargo run --release --example kernels_on_your_device

use softalign::{
    Gpu, GpuOptions, Result,
    gpu::{Dtype, Recorder, adapter},
    kernels::matmul::{Activation, Matmul, Matrix, Operands, Tile},
    wgpu,
};

fn main() -> Result<()> {
    // An application has these already.
    let adapter = adapter::choose(None)?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter gives a device");

    let gpu = Gpu::from_wgpu(device.clone(), queue.clone(), &GpuOptions::default());
    let (m, n, k) = (3, 5, 7);
    let x = gpu.tensor("x", [m, k], Dtype::F32, &vec![0.1_f32; m * k])?;
    let weight = gpu.tensor("weight", [n, k], Dtype::F32, &vec![0.2_f32; n * k])?;
    let y = gpu.zeros("y", [m, n], Dtype::F32)?;

    // Recorded once; pipelines and bind groups are made here.
    let mut recorder = Recorder::new(&gpu, "my layer");
    let layer = Matmul { m, n, k, batch: 1, transpose_b: true, activation: Activation::Tanh, ..Default::default() };
    let tile = Tile::choose(&gpu, m);
    layer.record(
        &mut recorder,
        tile,
        &Operands { a: Matrix::rows(&x), b: Matrix::rows(&weight), bias: None, c: Matrix::rows(&y) },
    )?;
    let recording = recorder.finish()?;

    // Replayed wherever the application's frame wants it.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("my frame") });
    recording.encode(&mut encoder);
    queue.submit([encoder.finish()]);

    let values: Vec<f32> = gpu.read(&y)?;
    let expected = (0.1_f32 * 0.2 * 7.0).tanh();
    assert!(values.iter().all(|value| (value - expected).abs() < 1e-6));
    println!("tanh(x·weightᵀ) = {:.6} on {}", values[0], adapter::describe(gpu.info()));
    Ok(())
}
