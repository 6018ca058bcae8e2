//! Door one: kernels recorded on the caller's own wgpu device, on the caller's own buffers, into the caller's own command encoder.
//! Nothing is copied, nothing else is submitted, and the caller's timestamps stand around the kernels.
//!
//!     cargo run --release --example kernels_on_your_device

use softalign::{
    Gpu, GpuOptions, Result, Tensor,
    gpu::{Dtype, Recorder, adapter},
    kernels::matmul::{Activation, Matmul, Matrix, Operands, Tile},
    wgpu,
};

fn main() -> Result<()> {
    // An application has these already: a device, and buffers on it. Kernels load 16 bytes at once, so a buffer's size is rounded up to
    // that.
    let adapter = adapter::choose(None)?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter gives a device");
    let (m, n, k) = (3, 5, 7);
    let buffer = |floats: usize| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("mine"),
            size: (4 * floats as u64).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    let [x, weight, y] = [m * k, n * k, m * n].map(buffer);
    queue.write_buffer(&x, 0, bytemuck::cast_slice(&vec![0.1_f32; m * k]));
    queue.write_buffer(&weight, 0, bytemuck::cast_slice(&vec![0.2_f32; n * k]));

    // A tensor is a window of a buffer.
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone(), &GpuOptions::default());
    let tensor = |buffer: &wgpu::Buffer, shape| Tensor::new(&gpu, buffer.clone(), 0, shape, Dtype::F32);
    let (a, b, c) = (tensor(&x, [m, k])?, tensor(&weight, [n, k])?, tensor(&y, [m, n])?);
    assert!(c.buffer() == &y, "the caller's buffer itself, and no copy of it");

    // Recorded once: pipelines and bind groups are made here, and the driver compiles here what it has not compiled yet.
    let mut recorder = Recorder::new(&gpu, "my layer");
    let layer = Matmul { m, n, k, batch: 1, transpose_b: true, activation: Activation::Tanh, ..Default::default() };
    let tile = Tile::choose(&gpu, m);
    layer.record(
        &mut recorder,
        tile,
        &Operands { a: Matrix::rows(&a), b: Matrix::rows(&b), bias: None, c: Matrix::rows(&c) },
    )?;
    let recording = recorder.finish()?;

    // Replayed wherever the application's frame wants it, between whatever else it encodes.
    let stamps = Stamps::new(&device);
    let before = gpu.counters();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("my frame") });
    recording.encode_timed(&mut encoder, stamps.as_ref().map(Stamps::writes));
    if let Some(stamps) = &stamps {
        stamps.resolve(&mut encoder);
    }
    let after = gpu.counters();
    let made = |counters: softalign::gpu::Counters| (counters.buffers, counters.bind_groups, counters.pipelines);
    assert_eq!(made(after), made(before), "nothing was made");
    assert_eq!((after.submits, after.waits), (before.submits, before.waits), "nothing was submitted or waited for");
    assert_eq!(after.dispatches, before.dispatches + recording.dispatches() as u64);
    queue.submit([encoder.finish()]);

    let expected = (0.1_f32 * 0.2 * 7.0).tanh();
    let values: Vec<f32> = gpu.read(&c)?;
    assert!(values.iter().all(|value| (value - expected).abs() < 1e-6));
    println!("tanh(x·weightᵀ) = {:.6} on {}", values[0], adapter::describe(gpu.info()));
    if let Some(stamps) = stamps {
        let [start, end] = stamps.read(&device);
        let nanoseconds = end.saturating_sub(start) as f64 * f64::from(queue.get_timestamp_period());
        println!("{:.1} us by the device's clock", nanoseconds / 1e3);
    }
    Ok(())
}

/// The application's timestamps, where the device has a clock: as it would take them of its own passes.
struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    mapped: wgpu::Buffer,
}

impl Stamps {
    fn new(device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false })
        };
        Some(Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            mapped: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        })
    }

    /// Before and after the kernels.
    fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.mapped, 0, 16);
    }

    fn read(&self, device: &wgpu::Device) -> [u64; 2] {
        self.mapped.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        let bytes = self.mapped.slice(..).get_mapped_range().expect("it is mapped");
        bytemuck::pod_read_unaligned(&bytes)
    }
}
