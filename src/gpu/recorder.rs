//! Dispatches recorded once and replayed: pipelines, bind groups and parameters are made beforehand.

use std::{borrow::Cow, ops::Range, sync::Arc};

use super::{
    AdapterClass, Cost, Counts, Gpu, Launch, Pipeline, Tensor,
    binding::Access,
    counts::{Order, waves},
    dispatch::{Dispatch, encode, whole},
    finite::Watch,
    guard::{Guard, PARAMETER_STRIDE},
    stopwatch::Stopwatch,
    texture::Copied,
    warm_up::WarmUp,
};
use crate::{Error, Result};

struct Pending {
    pipeline: Arc<Pipeline>,
    guard: Guard,
    tensors: Vec<Tensor>,
    workgroups: [u32; 3],
    cost: Cost,
    rounds: usize,
}

/// Collects dispatches; [`Recorder::finish`] makes the parameter buffer and the bind groups.
pub struct Recorder {
    gpu: Gpu,
    label: Cow<'static, str>,
    params: Vec<u8>,
    pending: Vec<Pending>,
}

impl Recorder {
    /// An empty recording, named in errors and debuggers.
    pub fn new(gpu: &Gpu, label: impl Into<Cow<'static, str>>) -> Self {
        Self { gpu: gpu.clone(), label: label.into(), params: Vec::new(), pending: Vec::new() }
    }

    /// The device that is recorded for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The number of dispatches so far.
    pub fn dispatches(&self) -> usize {
        self.pending.len()
    }

    /// Appends a dispatch of a shader, with wgpu's checks at each of its accesses: it reads and writes nothing but its tensors,
    /// whatever it does. This is the door for a kernel of one's own.
    ///
    /// # Errors
    /// [`Error::Shader`], [`Error::Limit`] or [`Error::Gpu`] if the shader does not compile ([`Gpu::pipeline`]);
    /// [`Error::Shape`] if the parameters or a tensor are not what the shader declares, are of another [`Gpu`], or one buffer
    /// is both read and written, or written twice in one place; [`Error::Limit`] past the adapter's number of workgroups in a
    /// dimension.
    pub fn dispatch(&mut self, launch: &Launch<'_>) -> Result<()> {
        self.push(launch, Guard::Driver, 1)
    }

    /// Appends a dispatch of one of this crate's kernels, which has checked that the shader stays inside its tensors.
    ///
    /// # Errors
    /// A shader that does not compile, or parameters and tensors that do not fit it ([`Recorder::dispatch`]).
    pub(crate) fn launch(&mut self, launch: &Launch<'_>) -> Result<()> {
        self.push(launch, Guard::Kernel, 1)
    }

    /// As [`Recorder::launch`], of a kernel each of whose workgroups goes so often through its longest loop: [`Recording::counts`].
    pub(crate) fn launch_rounds(&mut self, launch: &Launch<'_>, rounds: usize) -> Result<()> {
        self.push(launch, Guard::Kernel, rounds.max(1))
    }

    fn push(&mut self, launch: &Launch<'_>, guard: Guard, rounds: usize) -> Result<()> {
        let pipeline = self.gpu.guarded_pipeline(launch.kernel, &launch.specialisation, guard)?;
        launch.check(&self.gpu, &pipeline, guard)?;
        self.params.extend_from_slice(bytemuck::cast_slice(launch.params));
        self.params.resize((self.pending.len() + 1) * PARAMETER_STRIDE as usize, 0);
        self.pending.push(Pending {
            pipeline,
            guard,
            tensors: launch.tensors.iter().map(|tensor| (*tensor).clone()).collect(),
            workgroups: launch.workgroups,
            cost: launch.cost,
            rounds,
        });
        Ok(())
    }

    /// Makes the parameter buffer and the bind groups, and lets the driver compile each pipeline that it has not run yet.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the driver refuses a binding, [`Error::Limit`] if the parameters do not fit, [`Error::OutOfMemory`] when memory
    /// runs out.
    pub fn finish(self) -> Result<Recording> {
        let recording = self.bind()?;
        let mut warm_up = WarmUp::new(&recording.gpu, &recording.dispatches);
        while warm_up.submit_next() {
            recording.gpu.pace(None)?;
        }
        Ok(recording)
    }

    /// Makes a recording like [`Recorder::finish`], and lets other tasks of the thread go on while the driver compiles.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the driver refuses a binding, [`Error::Limit`] if the parameters do not fit, [`Error::OutOfMemory`] when memory
    /// runs out.
    pub async fn finish_async(self) -> Result<Recording> {
        let recording = self.bind()?;
        let mut warm_up = WarmUp::new(&recording.gpu, &recording.dispatches);
        while warm_up.submit_next() {
            recording.gpu.wait_async().await?;
        }
        Ok(recording)
    }

    /// Makes the parameter buffer and the bind groups.
    fn bind(self) -> Result<Recording> {
        let Self { gpu, label, params, pending } = self;
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = gpu.raw_buffer("parameters", params.len() as u64, usage)?;
        gpu.queue().write_buffer(&uniform, 0, &params);
        let mut dispatches = Vec::with_capacity(pending.len());
        let mut order = Order::default();
        for (index, pending) in pending.into_iter().enumerate() {
            let copied = copied(&gpu, &pending)?;
            let bind_group = bind_group(&gpu, &pending, parameters(&uniform, index), &copied)?;
            let copied = copied.into_iter().flatten().collect();
            let Pending { pipeline, mut tensors, workgroups, cost, rounds, .. } = pending;
            let waits = order.waits(&pipeline, &tensors);
            if !gpu.inner.check_finite {
                tensors.clear();
            }
            dispatches.push(Dispatch { pipeline, bind_group, copied, tensors, workgroups, cost, rounds, waits });
        }
        let splits = splits(gpu.class(), &dispatches);
        Ok(Recording { gpu, label, dispatches, splits, settings: uniform.size() })
    }
}

fn parameters(uniform: &wgpu::Buffer, index: usize) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: uniform,
        offset: index as u64 * PARAMETER_STRIDE,
        size: wgpu::BufferSize::new(PARAMETER_STRIDE),
    })
}

/// A copy of each tensor that is bound as a texture.
fn copied(gpu: &Gpu, pending: &Pending) -> Result<Vec<Option<Copied>>> {
    let bound = pending.pipeline.bindings.iter().skip(1).zip(&pending.tensors).enumerate();
    let copied = bound.map(|(index, (binding, tensor))| {
        let is_copied = binding.used && binding.access == Access::Texture;
        is_copied.then(|| Copied::new(gpu, index, tensor)).transpose()
    });
    copied.collect()
}

fn bind_group(
    gpu: &Gpu,
    pending: &Pending,
    params: wgpu::BindingResource<'_>,
    copied: &[Option<Copied>],
) -> Result<wgpu::BindGroup> {
    let bind = if pending.guard == Guard::Kernel { Tensor::padded_binding } else { Tensor::binding };
    let views: Vec<_> = copied.iter().map(|copied| copied.as_ref().map(Copied::view)).collect();
    let tensors = pending.tensors.iter().zip(&views).map(|(tensor, view)| match view {
        Some(view) => wgpu::BindingResource::TextureView(view),
        None => bind(tensor),
    });
    let entries: Vec<_> = (0..)
        .zip(std::iter::once(params).chain(tensors))
        .zip(&pending.pipeline.bindings)
        .filter(|(_, binding)| binding.used)
        .map(|((binding, resource), _)| wgpu::BindGroupEntry { binding, resource })
        .collect();
    let scopes = gpu.error_scopes();
    let bind_group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&pending.pipeline.label),
        layout: &pending.pipeline.layout,
        entries: &entries,
    });
    scopes.finish(&pending.pipeline.label)?;
    gpu.count(|counters| counters.bind_groups += 1);
    Ok(bind_group)
}

/// Operations and bytes of a dispatch in one number, by what GPUs do of each in the same time.
fn weight(Dispatch { cost, .. }: &Dispatch) -> f64 {
    cost.operations + 8.0 * cost.transcendental + 4.0 * (cost.read + cost.written)
}

/// The dispatches after which a recording is cut into several submits, so that none runs past half a second on a slow GPU:
/// watchdogs reset devices whose work takes seconds. CPU drivers have no watchdog.
fn splits(class: AdapterClass, dispatches: &[Dispatch]) -> Vec<usize> {
    let rate = match class {
        AdapterClass::Discrete => 1e12,
        AdapterClass::Integrated => 1e11,
        AdapterClass::Cpu => return vec![dispatches.len()],
    };
    let (mut splits, mut seconds) = (Vec::new(), 0.0);
    for (index, dispatch) in dispatches.iter().enumerate() {
        let own = weight(dispatch) / rate;
        if seconds + own > 0.5 && seconds > 0.0 {
            splits.push(index);
            seconds = 0.0;
        }
        seconds += own;
    }
    splits.push(dispatches.len());
    splits
}

/// Dispatches ready to be replayed.
#[derive(Debug)]
pub struct Recording {
    gpu: Gpu,
    label: Cow<'static, str>,
    dispatches: Vec<Dispatch>,
    splits: Vec<usize>,
    settings: u64,
}

impl Recording {
    /// The number of dispatches.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Bytes of the buffer that holds the parameters of all dispatches.
    pub fn settings(&self) -> u64 {
        self.settings
    }

    /// The number of submits that they are split into.
    pub fn submits(&self) -> usize {
        self.splits.len()
    }

    /// The cost of all dispatches together.
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::default();
        self.dispatches.iter().for_each(|dispatch| sum += dispatch.cost);
        sum
    }

    /// The share of all operations and bytes that the first dispatches have, from 0 to 1.
    pub fn share(&self, dispatches: usize) -> f64 {
        let sum = |dispatches: &[Dispatch]| dispatches.iter().map(weight).sum::<f64>();
        sum(&self.dispatches[..dispatches.min(self.dispatches.len())]) / sum(&self.dispatches).max(f64::MIN_POSITIVE)
    }

    /// What the dispatches ask of an adapter of so many compute units; [`UNITS`](super::UNITS) of one that does not tell.
    pub fn counts(&self, units: usize) -> Counts {
        let mut counts = Counts { dispatches: self.dispatches.len(), ..Counts::default() };
        for dispatch in &self.dispatches {
            counts.barriers += usize::from(dispatch.waits);
            counts.serial_rounds += dispatch.rounds * waves(dispatch.workgroups, units);
            counts.bytes += dispatch.cost.read + dispatch.cost.written;
        }
        counts
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Dispatch> {
        self.dispatches.iter()
    }

    /// The kernels in order, each as `name/specialisation`.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.dispatches.iter().map(|dispatch| dispatch.pipeline.label.as_str())
    }

    /// Encodes all dispatches as one compute pass of the caller's encoder; as several on an adapter that reads copies in textures
    /// ([`Tiles::textures`](super::Tiles::textures)), which are made between them.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        self.encode_timed(encoder, None);
    }

    /// As [`Recording::encode`], with the device's time written before and after.
    pub fn encode_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        self.encode_repeatedly(encoder, timestamp_writes, 1);
    }

    /// As [`Recording::encode_timed`], so often one behind the other.
    pub(super) fn encode_repeatedly(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
        repeats: usize,
    ) {
        let all = std::iter::repeat_n(&self.dispatches, repeats).flat_map(|dispatches| whole(dispatches));
        encode(encoder, &self.label, timestamp_writes, all);
        self.gpu.count(|counters| counters.dispatches += (repeats * self.dispatches.len()) as u64);
    }

    /// Encodes and submits all dispatches: one submit, unless they would keep a slow GPU busy too long. `step` stands in
    /// the message if the device is lost.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] for a fault that the driver has reported so far.
    pub fn submit(&self, step: u64) -> Result<wgpu::SubmissionIndex> {
        self.submit_after(step, |_| Ok(()))
    }

    /// Submits all dispatches ([`Recording::submit`]), with `before` encoded first in the same submit.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] for a fault that the driver has reported so far, or the error of `before`.
    pub fn submit_after(
        &self,
        step: u64,
        before: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
    ) -> Result<wgpu::SubmissionIndex> {
        self.submit_part(step, 0..self.dispatches.len(), before, |_| {})
    }

    /// Submits the dispatches of a part, with `before` and `after` encoded around them in the same submit.
    ///
    /// # Errors
    /// As [`Recording::submit_after`].
    pub(crate) fn submit_part(
        &self,
        step: u64,
        part: Range<usize>,
        before: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
        after: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex> {
        let gpu = &self.gpu;
        gpu.poll()?;
        let encoder =
            || gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&self.label) });
        let mut current = encoder();
        before(&mut current)?;
        if gpu.inner.trace || gpu.inner.check_finite {
            self.submit_traced(step, part, current)?;
            let mut last = encoder();
            after(&mut last);
            return Ok(gpu.queue().submit([last.finish()]));
        }
        gpu.note_submission(&self.label, step);
        let mut start = part.start;
        for end in self.splits.iter().copied().filter(|end| part.start < *end && *end < part.end) {
            encode(&mut current, &self.label, None, whole(&self.dispatches[start..end]));
            start = end;
            let full = std::mem::replace(&mut current, encoder());
            gpu.queue().submit([full.finish()]);
            gpu.count(|counters| counters.submits += 1);
        }
        encode(&mut current, &self.label, None, whole(&self.dispatches[start..part.end]));
        after(&mut current);
        gpu.count(|counters| {
            counters.submits += 1;
            counters.dispatches += part.len() as u64;
        });
        Ok(gpu.queue().submit([current.finish()]))
    }

    /// One submit per dispatch, each waited for: a fault names its kernel.
    fn submit_traced(&self, step: u64, part: Range<usize>, before: wgpu::CommandEncoder) -> Result<()> {
        let gpu = &self.gpu;
        let submits = part.len() as u64 + 1;
        gpu.queue().submit([before.finish()]);
        for (index, dispatch) in self.dispatches.iter().enumerate().take(part.end).skip(part.start) {
            let label = format!("{}, dispatch {index}, {}", self.label, dispatch.pipeline.label);
            gpu.note_submission(&label, step);
            let watch = Watch::before(gpu, &dispatch.pipeline, &dispatch.tensors)?;
            let start = Stopwatch::start();
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&label) });
            encode(&mut encoder, &label, None, [(dispatch, dispatch.workgroups)]);
            let submission = gpu.queue().submit([encoder.finish()]);
            gpu.wait(Some(submission))?;
            tracing::debug!("{label}: {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
            if let Some([found, cause]) = watch.after(gpu)? {
                let program = format!("{}, dispatch {index}", self.label);
                let kernel = dispatch.pipeline.label.clone();
                return Err(Error::BecameNonFinite { program, step, kernel, found, cause });
            }
        }
        gpu.count(|counters| {
            counters.submits += submits;
            counters.dispatches += submits - 1;
        });
        Ok(())
    }
}
