//! Gradients summed over ranks, in buckets that go out while the backward pass still runs.

use std::{ops::RangeInclusive, sync::Arc, time::Instant};

use super::{Shard, optimizer::State, shard::Packing};
use crate::{
    Error, Gpu, Result, Tensor,
    graph::{Parameters, Piece, Program},
    kernels::{
        Step,
        adam::{Adam, StepReport},
    },
    ranks::{Ranks, part},
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
    /// Bytes that this rank has sent: of each bucket all but its own part of the gradients, and its part of their sums, or of the
    /// parameters made by these, to all others.
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
    gpu: Gpu,
    pub ranks: Arc<dyn Ranks>,
    /// This rank, where each makes the update of its part of every tensor alone.
    shard: Option<Shard>,
    /// One for each bucket.
    staging: Vec<wgpu::Buffer>,
    pub traffic: Traffic,
}

/// Gradients that are sent together.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// The dispatches after which they are whole.
    pub until: usize,
    pub tensors: Vec<Tensor>,
    pub bytes: u64,
}

impl Summation {
    pub fn new(gpu: &Gpu, ranks: Arc<dyn Ranks>, shard: Option<Shard>) -> Self {
        Self { gpu: gpu.clone(), ranks, shard, staging: Vec::new(), traffic: Traffic::default() }
    }

    /// Runs the last batch of an update, whose gradients and loss are the sums over all its batches and all ranks. The device goes
    /// on with the backward pass while the gradients that are whole go around.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Rank`] if a rank has ended.
    pub fn run(&mut self, program: &mut Program, state: &State, loss: &Tensor, step: Step) -> Result<()> {
        // What earlier batches of the update have added up.
        let total = state.total.as_ref().filter(|_| step.batch > 0);
        let without = state.total.as_ref().map_or(0, |total| total.blocks().len());
        let step = Step { batch: 0, batches: 1, ..step };
        let buckets = buckets(program, loss);
        let sources = sources(&buckets, state, total, loss);
        let bytes: Vec<u64> = sources.iter().map(|tensors| tensors.iter().map(Tensor::copied_bytes).sum()).collect();
        self.make_room(&bytes)?;
        let pieces = buckets.iter().zip(&sources).zip(&self.staging);
        let pieces: Vec<_> = pieces.map(|((bucket, tensors), to)| Piece { until: bucket.until, tensors, to }).collect();
        let submissions = program.run_pieces(step, &pieces)?;
        let (mut squares, mut lost) = (0.0, 0.0);
        for (number, ((bucket, bytes), submission)) in buckets.iter().zip(bytes).zip(submissions).enumerate() {
            self.gpu.wait(Some(submission))?;
            let packing = Packing::new(&bucket.tensors, self.ranks.size());
            let is_last = number + 1 == buckets.len();
            let own = bucket.tensors.iter().map(Tensor::bytes).sum::<u64>() as usize;
            let packed = self.take(number, bytes, |taken| {
                let (gradients, rest) = taken.split_at_checked(own).unwrap_or_default();
                let (totals, rest) = rest.split_at_checked(if total.is_some() { own } else { 0 }).unwrap_or_default();
                let mut packed = packing.packed(gradients);
                if !totals.is_empty() {
                    let totals = packing.packed(totals);
                    packed.iter_mut().zip(totals).for_each(|(gradient, total)| *gradient += total);
                }
                lost = if is_last { loss_of(rest) } else { lost };
                packed
            })?;
            squares += self.sum(bucket, &packing, packed, is_last)?;
        }
        let [squares, lost] = self.add_up([squares, lost])?;
        self.gpu.write(loss, &[lost as f32])?;
        let scratch = Adam::scratch_of_squares(squares);
        self.gpu.write(&state.scratch.window([scratch.len()])?, &scratch)?;
        self.traffic.steps += 1;
        program.run_rest(step, without)?;
        let parameters = |gradients: &Tensor| state.parameters.beside(&state.gradients, gradients);
        let groups = buckets.iter().map(|bucket| bucket.tensors.iter().filter_map(parameters).collect());
        self.complete(&groups.collect::<Vec<Vec<_>>>())
    }

    /// This rank, and the number of all.
    pub fn place(&self) -> (usize, usize) {
        (self.ranks.rank(), self.ranks.size())
    }

    /// Puts the sums of a bucket's gradients in their place, or those of this rank's part of each. Returns the sum of the squares of
    /// that part.
    fn sum(&mut self, bucket: &Bucket, packing: &Packing, mut packed: Vec<f32>, is_last: bool) -> Result<f64> {
        let own = part(packed.len(), self.ranks.size(), self.ranks.rank());
        let (elements, began) = (packed.len(), Instant::now());
        let Some(shard) = self.shard else {
            self.ranks.all_reduce(&mut packed)?;
            self.count(began, 2, elements, is_last);
            self.write(&bucket.tensors, packing, &packed)?;
            return Ok(squares(packed.get(own).unwrap_or_default()));
        };
        let sums = self.ranks.reduce_scatter(&packed)?;
        self.count(began, 1, elements, is_last);
        let parts = bucket.tensors.iter().map(|tensor| shard.of(tensor)).collect::<Result<Vec<_>>>()?;
        let mut rest = sums.as_slice();
        for part in parts.iter().flatten() {
            let (own, behind) = rest.split_at_checked(part.elements()).unwrap_or_default();
            self.gpu.write(part, own)?;
            rest = behind;
        }
        Ok(squares(&sums))
    }

    /// The sums of these numbers over all ranks, in their order.
    fn add_up<const N: usize>(&mut self, own: [f64; N]) -> Result<[f64; N]> {
        let began = Instant::now();
        let mut sums = [0.0; N];
        for said in self.ranks.all_gather_bytes(bytemuck::bytes_of(&own))? {
            let numbers: Vec<f64> = bytemuck::pod_collect_to_vec(&said);
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        self.count(began, 0, 0, true);
        Ok(sums)
    }

    /// Makes tensors whole of which each rank has its part; without parts they are.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Rank`] if a rank has ended.
    pub fn complete(&mut self, groups: &[Vec<Tensor>]) -> Result<()> {
        let Some(shard) = self.shard else { return Ok(()) };
        let parts = |tensors: &Vec<Tensor>| tensors.iter().filter_map(|tensor| shard.of(tensor).transpose()).collect();
        let parts: Vec<Vec<Tensor>> = groups.iter().map(parts).collect::<Result<_>>()?;
        let bytes: Vec<u64> = parts.iter().map(|parts| parts.iter().map(Tensor::bytes).sum()).collect();
        self.make_room(&bytes)?;
        let copies = parts.iter().zip(&self.staging).map(|(parts, staging)| {
            let label = Some("parts of a rank");
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let mut place = 0;
            for part in parts {
                encoder.copy_buffer_to_buffer(part.buffer(), part.offset(), staging, place, part.bytes());
                place += part.bytes();
            }
            // A failure shows when the range is taken.
            encoder.map_buffer_on_submit(staging, wgpu::MapMode::Read, .., |_| {});
            self.gpu.count_readback();
            self.gpu.queue().submit([encoder.finish()])
        });
        let submissions: Vec<_> = copies.collect();
        for (number, ((tensors, bytes), submission)) in groups.iter().zip(bytes).zip(submissions).enumerate() {
            self.gpu.wait(Some(submission))?;
            let packing = Packing::new(tensors, shard.size);
            let mut packed = self.take(number, bytes, |own| packing.of_one(shard.rank, own))?;
            let began = Instant::now();
            self.ranks.all_gather(&mut packed)?;
            self.count(began, 1, packed.len(), true);
            self.write(tensors, &packing, &packed)?;
        }
        Ok(())
    }

    /// Makes what buffers there are not yet, one for each number of bytes.
    fn make_room(&mut self, all: &[u64]) -> Result<()> {
        for (number, bytes) in all.iter().enumerate() {
            match self.staging.get_mut(number) {
                Some(buffer) if buffer.size() >= *bytes => {}
                Some(buffer) => *buffer = self.gpu.readback_buffer("bytes of a bucket", *bytes)?,
                None => self.staging.push(self.gpu.readback_buffer("bytes of a bucket", *bytes)?),
            }
        }
        Ok(())
    }

    /// What is made of the first bytes in a staging buffer, which is mapped.
    fn take<T>(&self, number: usize, bytes: u64, make: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Some(staging) = self.staging.get(number) else { return Ok(make(&[])) };
        if bytes == 0 {
            staging.unmap();
            return Ok(make(&[]));
        }
        let mapped = staging.slice(..bytes).get_mapped_range();
        let mapped = mapped.map_err(|error| {
            let message = error.to_string();
            self.gpu.check().err().unwrap_or(Error::Gpu { kernel: "bytes of a bucket".into(), message })
        })?;
        let made = make(&mapped);
        drop(mapped);
        staging.unmap();
        Ok(made)
    }

    /// Writes what was sent into its tensors.
    fn write(&self, tensors: &[Tensor], packing: &Packing, packed: &[f32]) -> Result<()> {
        let mut each = tensors.iter().zip(packing.pieces(packed));
        each.try_for_each(|(tensor, pieces)| self.gpu.write_pieces(tensor, pieces))
    }

    /// Counts what was sent in so many rounds, in each of which a rank sends one part of `elements` for each of the others.
    fn count(&mut self, began: Instant, rounds: usize, elements: usize, exposed: bool) {
        let seconds = began.elapsed().as_secs_f64();
        self.traffic.seconds += seconds;
        self.traffic.exposed += if exposed { seconds } else { 0.0 };
        let size = self.ranks.size().max(1);
        self.traffic.bytes += (rounds * (size - 1) * elements.div_ceil(size) * size_of::<f32>()) as u64;
    }
}

/// The gradients of a Program in the order in which they become whole, and with the last of them the loss. On all ranks they are the
/// same: these run the same graph.
pub(super) fn buckets(program: &Program, loss: &Tensor) -> Vec<Bucket> {
    let gradients = program.gradients().iter().map(|(tensor, until)| (tensor.clone(), *until));
    let mut buckets = grouped(gradients.collect());
    if let Some(bucket) = buckets.last_mut() {
        bucket.until = program.own_dispatches();
        bucket.bytes += loss.copied_bytes();
    }
    buckets
}

/// Tensors that are sent together, in the order in which they are given: each with the dispatches after which it is whole.
pub(super) fn grouped(tensors: Vec<(Tensor, usize)>) -> Vec<Bucket> {
    let all: u64 = tensors.iter().map(|(tensor, _)| tensor.copied_bytes()).sum();
    let full = (all / BUCKETS).clamp(*BUCKET.start(), *BUCKET.end());
    let mut buckets: Vec<Bucket> = Vec::new();
    for (tensor, until) in tensors {
        let bytes = tensor.copied_bytes();
        match buckets.last_mut().filter(|bucket| bucket.bytes < full) {
            Some(bucket) => {
                bucket.bytes += bytes;
                bucket.until = until;
                bucket.tensors.push(tensor);
            }
            None => buckets.push(Bucket { until, tensors: vec![tensor], bytes }),
        }
    }
    buckets
}

/// What the host reads of each bucket: the gradients, then what earlier batches have added up of them; with the last one the loss of
/// this batch, and the report of the earlier ones.
fn sources(buckets: &[Bucket], state: &State, total: Option<&Parameters>, loss: &Tensor) -> Vec<Vec<Tensor>> {
    let mut sources: Vec<Vec<Tensor>> = Vec::new();
    for bucket in buckets {
        let earlier = bucket.tensors.iter().filter_map(|one| total?.beside(&state.gradients, one));
        sources.push(bucket.tensors.iter().cloned().chain(earlier).collect());
    }
    if let Some(last) = sources.last_mut() {
        last.push(loss.clone());
        last.extend(total.map(|_| state.report.clone()));
    }
    sources
}

/// The loss of a batch and of those before it in the update, from the bytes of its own and of the report of these, if there are any.
fn loss_of(bytes: &[u8]) -> f64 {
    let (own, report) = bytes.split_at_checked(size_of::<f32>()).unwrap_or_default();
    let own: f32 = bytemuck::try_pod_read_unaligned(own).unwrap_or_default();
    f64::from(own) + StepReport::of_bytes(report).map_or(0.0, |earlier| f64::from(earlier.loss))
}

/// The sum of squares, in one order: several at a time, as fast as a host reads them.
fn squares(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for eight in values.chunks(sums.len()) {
        sums.iter_mut().zip(eight).for_each(|(sum, value)| *sum += f64::from(*value) * f64::from(*value));
    }
    sums.iter().sum()
}
