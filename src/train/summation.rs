//! Gradients summed over ranks, in buckets that go out while the backward pass still runs.

use std::{ops::RangeInclusive, sync::Arc, time::Instant};

use crate::{
    Error, Gpu, Result, Tensor,
    graph::{Piece, Program},
    kernels::Step,
    ranks::Ranks,
};

/// Buckets that a step has at least, so that most of them go around while the backward pass still runs.
const BUCKETS: u64 = 4;
/// Bytes of a bucket: enough that a network's latency counts little beside its bandwidth, and few enough to hide.
const BUCKET: RangeInclusive<u64> = 1 << 16..=1 << 24;

/// What ranks have sent one another, and how long that took, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Traffic {
    /// Steps.
    pub steps: u64,
    /// Bytes that this rank has sent: of each bucket all but its own part, and that part to all others.
    pub bytes: u64,
    /// Seconds in which it sent, received and summed, or waited for other ranks,
    pub seconds: f64,
    /// and those of them in which its device had no work left.
    pub exposed: f64,
}

impl Traffic {
    /// What has come since.
    pub fn since(self, before: Self) -> Self {
        Self {
            steps: self.steps - before.steps,
            bytes: self.bytes - before.bytes,
            seconds: self.seconds - before.seconds,
            exposed: self.exposed - before.exposed,
        }
    }
}

/// What sums the gradients of a step over all ranks.
#[derive(Debug)]
pub(super) struct Summation {
    pub ranks: Arc<dyn Ranks>,
    /// One for each bucket.
    staging: Vec<wgpu::Buffer>,
    pub traffic: Traffic,
}

/// Gradients that are sent together.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// The dispatches after which they are whole.
    pub until: usize,
    tensors: Vec<Tensor>,
    pub bytes: u64,
}

impl Summation {
    pub fn new(ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks, staging: Vec::new(), traffic: Traffic::default() }
    }

    /// Runs a step of training whose gradients and loss are the sums over all ranks. The device goes on with the backward pass
    /// while the gradients that are whole go around.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Data`] if a rank has ended.
    pub fn run(&mut self, gpu: &Gpu, program: &mut Program, loss: &Tensor, step: Step) -> Result<()> {
        let buckets = buckets(program, loss);
        self.make_room(gpu, &buckets)?;
        let pieces: Vec<_> = buckets
            .iter()
            .zip(&self.staging)
            .map(|(bucket, to)| Piece { until: bucket.until, tensors: &bucket.tensors, to })
            .collect();
        let submissions = program.run_pieces(step, &pieces)?;
        let last = submissions.len().saturating_sub(1);
        for (number, ((bucket, staging), submission)) in buckets.iter().zip(&self.staging).zip(submissions).enumerate()
        {
            gpu.wait(Some(submission))?;
            let mut values = take(gpu, staging, bucket.bytes)?;
            let began = Instant::now();
            self.ranks.all_reduce(&mut values)?;
            let seconds = began.elapsed().as_secs_f64();
            self.traffic.seconds += seconds;
            self.traffic.exposed += if number == last { seconds } else { 0.0 };
            self.traffic.bytes += sent(values.len(), self.ranks.as_ref());
            let mut values = values.as_slice();
            for tensor in &bucket.tensors {
                let (own, rest) = values.split_at_checked(tensor.elements()).unwrap_or_default();
                gpu.write(tensor, own)?;
                values = rest;
            }
        }
        self.traffic.steps += 1;
        program.run_rest(step)
    }

    /// Makes what buffers there are not yet.
    fn make_room(&mut self, gpu: &Gpu, buckets: &[Bucket]) -> Result<()> {
        for (number, Bucket { bytes, .. }) in buckets.iter().enumerate() {
            match self.staging.get_mut(number) {
                Some(buffer) if buffer.size() >= *bytes => {}
                Some(buffer) => *buffer = gpu.readback_buffer("gradients of a bucket", *bytes)?,
                None => self.staging.push(gpu.readback_buffer("gradients of a bucket", *bytes)?),
            }
        }
        Ok(())
    }
}

/// The gradients of a Program in the order in which they become whole, and with the last of them the loss. On all ranks they are the
/// same: these run the same graph.
pub(super) fn buckets(program: &Program, loss: &Tensor) -> Vec<Bucket> {
    let all: u64 = program.gradients().iter().map(|(tensor, _)| tensor.copied_bytes()).sum();
    let full = (all / BUCKETS).clamp(*BUCKET.start(), *BUCKET.end());
    let mut buckets: Vec<Bucket> = Vec::new();
    for (tensor, until) in program.gradients() {
        match buckets.last_mut().filter(|bucket| bucket.bytes < full) {
            Some(bucket) => {
                bucket.bytes += tensor.copied_bytes();
                bucket.until = *until;
                bucket.tensors.push(tensor.clone());
            }
            None => {
                buckets.push(Bucket { until: *until, tensors: vec![tensor.clone()], bytes: tensor.copied_bytes() });
            }
        }
    }
    if let Some(bucket) = buckets.last_mut() {
        bucket.until = program.own_dispatches();
        bucket.bytes += loss.copied_bytes();
        bucket.tensors.push(loss.clone());
    }
    buckets
}

/// The values in a buffer, which is mapped.
fn take(gpu: &Gpu, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<f32>> {
    let mapped = staging.slice(..bytes).get_mapped_range();
    let mapped = mapped.map_err(|error| {
        let message = error.to_string();
        gpu.check().err().unwrap_or(Error::Gpu { kernel: "gradients of a bucket".into(), message })
    })?;
    let values = bytemuck::pod_collect_to_vec(&mapped);
    drop(mapped);
    staging.unmap();
    Ok(values)
}

/// Bytes that a rank sends to have so many values summed.
fn sent(values: usize, ranks: &dyn Ranks) -> u64 {
    let others = ranks.size().saturating_sub(1);
    2 * (size_of::<f32>() * values.div_ceil(ranks.size().max(1)) * others) as u64
}
