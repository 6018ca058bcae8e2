//! Training steps on the device.

use std::sync::Arc;

use super::{
    Objective, Optimizer, Shard, Teachers, TrainingGraph,
    bounded::Bounded,
    optimizer::State,
    summation::{Summation, Traffic, buckets, grouped},
};
use crate::{
    Error, Gpu, Result, Tensor,
    gpu::Dtype,
    graph::{Parameters, Pool, Program, ProgramOptions, Programs},
    kernels::Step,
    model::{BatchShape, Network, Regularisation},
    ranks::Ranks,
    text::Batch,
};

/// The place of a batch among those that make one update together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place among them, from 0.
    pub index: u32,
    /// The number of batches in the update.
    pub count: u32,
    /// Target tokens of all these batches, without padding.
    pub target_tokens: usize,
    /// Target tokens with links, under guided alignment.
    pub aligned_tokens: usize,
}

impl Part {
    /// The first of some batches.
    pub fn of<B: std::borrow::Borrow<Batch>>(batches: &[B]) -> Self {
        let sum = |of: fn(&Batch) -> usize| batches.iter().map(|batch| of(batch.borrow())).sum();
        Self {
            index: 0,
            count: batches.len() as u32,
            target_tokens: sum(|batch| batch.target_tokens),
            aligned_tokens: sum(|batch| batch.aligned_tokens),
        }
    }
}

/// A model in training: gradients, moments, and a compiled Program for each shape of batch.
#[derive(Debug)]
pub struct Trainer {
    gpu: Gpu,
    network: Network,
    /// Parameters, and gradients and moments of those that are trained.
    pub state: State,
    /// The loss of the last batch, `[1]`.
    pub loss: Tensor,
    optimizer: Optimizer,
    regularisation: Regularisation,
    teachers: Option<Teachers>,
    bounded: Vec<Bounded>,
    /// The batches of an update, which share the model's penalty.
    sharing: u32,
    /// The share of each, `[1]`, if there is a penalty.
    share: Option<Tensor>,
    summation: Option<Summation>,
    pool: Pool,
    programs: Programs<BatchShape>,
}

impl Trainer {
    /// A trainer of `network` with moments of zero. It changes `parameters` in place, unless they are trained in several ways
    /// ([`Optimizer::state`]): then it has copies, [`State::parameters`].
    ///
    /// # Errors
    /// [`Error::Data`] for rates that no parameter has, and if all are frozen; [`Error::OutOfMemory`] when memory runs
    /// out.
    pub fn new(
        gpu: &Gpu,
        network: Network,
        parameters: &Parameters,
        optimizer: Optimizer,
        regularisation: Regularisation,
    ) -> Result<Self> {
        let state = optimizer.state(gpu, network.as_ref(), parameters)?;
        Ok(Self {
            bounded: Bounded::all(gpu, network.as_ref(), &state)?,
            sharing: 1,
            share: None,
            summation: None,
            network,
            state,
            loss: gpu.zeros("loss", [1], Dtype::F32)?,
            optimizer,
            regularisation,
            teachers: None,
            pool: Pool::default(),
            programs: Programs::default(),
            gpu: gpu.clone(),
        })
    }

    /// The same with teachers, before its first step.
    pub fn taught_by(self, teachers: Option<Teachers>) -> Self {
        Self { teachers, ..self }
    }

    /// The same as one of several ranks, before its first step: all of them have the same parameters, run every step with their
    /// [shares](Batch::share) of one batch, and make the same update, by the sum of their gradients. With [`Optimizer::shard`], which
    /// is then this rank's place among them, each makes its part of it.
    pub fn among(self, ranks: Option<Arc<dyn Ranks>>) -> Self {
        let summation = ranks.map(|ranks| Summation::new(&self.gpu, ranks, self.optimizer.shard));
        Self { summation, ..self }
    }

    /// The ranks, where each keeps its part of the moments alone.
    pub(super) fn sharded(&self) -> Option<(&dyn Ranks, Shard)> {
        Some((self.summation.as_ref()?.ranks.as_ref(), self.optimizer.shard?))
    }

    /// Makes the moving average whole on every rank, where each keeps its part alone up to date.
    ///
    /// # Errors
    /// The errors of the device; [`Error::Rank`] if a rank has ended.
    pub(super) fn complete_average(&mut self) -> Result<()> {
        let Self { summation: Some(summation), state: State { gradients, average: Some(average), .. }, .. } = self
        else {
            return Ok(());
        };
        let tensors = gradients.names().iter().filter_map(|name| Some((average.tensor(name)?, 0)));
        let groups: Vec<_> = grouped(tensors.collect()).into_iter().map(|bucket| bucket.tensors).collect();
        summation.complete(&groups)
    }

    /// What it has sent to other ranks, if there are any.
    pub fn traffic(&self) -> Option<Traffic> {
        self.summation.as_ref().map(|summation| summation.traffic)
    }

    /// The buckets in which ranks would send the gradients of a batch of this shape: bytes, and the share of the step's operations and
    /// bytes behind which each is whole.
    ///
    /// # Errors
    /// Those of [`Trainer::prepare`].
    pub fn buckets(&mut self, shape: BatchShape) -> Result<Vec<(u64, f64)>> {
        let loss = self.loss.clone();
        let program = self.prepare(shape)?;
        let done = |dispatches: usize| program.recording().share(dispatches);
        Ok(buckets(program, &loss).iter().map(|bucket| (bucket.bytes, done(bucket.until))).collect())
    }

    /// Runs one step on a batch: forward, backward, clipping, Adam. Returns at once; at most two steps are under way.
    ///
    /// # Errors
    /// The errors of kernels (at the first batch of a shape, which compiles its Program) and of the device.
    pub fn step(&mut self, batch: &Batch, step: u32, seed: u32, learning_rate: f32) -> Result<()> {
        self.part(batch, Part::of(&[batch]), step, seed, learning_rate)
    }

    /// Runs one of several batches that make an update together, with [`Optimizer::accumulate`]: the gradients are those of the
    /// mean over the tokens of all of them, and the last batch's run changes the parameters. Each has dropout of its own.
    ///
    /// # Errors
    /// The errors of kernels (at the first batch of a shape, which compiles its Program) and of the device; [`Error::Data`] where
    /// [`Optimizer::shard`] is no place among its ranks.
    pub fn part(&mut self, batch: &Batch, part: Part, step: u32, seed: u32, learning_rate: f32) -> Result<()> {
        debug_assert!(part.count == 1 || self.optimizer.accumulate, "the gradients of earlier batches would be lost");
        let shard = self.optimizer.shard.map(|shard| (shard.rank, shard.size));
        if shard.is_some_and(|shard| Some(shard) != self.summation.as_ref().map(Summation::place)) {
            let message = "is no place among the ranks that the trainer has; `Trainer::among` brings them";
            return Err(Error::data("Optimizer::shard", message));
        }
        let (rank, ranks) = self.summation.as_ref().map_or((0, 1), |one| one.place());
        let [rank, ranks] = [rank, ranks].map(|number| number as u32);
        self.share_among(part.count.saturating_mul(ranks))?;
        let scale = |tokens: usize| 1.0 / tokens.max(1) as f32;
        let (loss_scale, alignment_scale) = (scale(part.target_tokens), scale(part.aligned_tokens));
        // Odd, so that no two batches of an update have the same.
        let seed = seed.wrapping_add(part.index.wrapping_mul(0x9e37_79b9));
        let settings = Step { step, seed, learning_rate, loss_scale, alignment_scale, ..Step::default() };
        let step = Step { batch: part.index, batches: part.count, rank, ranks, ..settings };
        self.prepare(batch.shape)?.stage(batch)?;
        let program = self.programs.get_mut(&batch.shape);
        let program = program.ok_or_else(|| Error::data("batch", format!("no Program for {}", batch.shape)))?;
        // The gradients of an update go around once, with its last batch.
        let is_last = part.index.saturating_add(1) >= part.count;
        match self.summation.as_mut().filter(|_| is_last) {
            Some(summation) => summation.run(program, &self.state, &self.loss, step),
            None => program.run(step),
        }
    }

    fn share_among(&mut self, batches: u32) -> Result<()> {
        match &self.share {
            Some(share) if self.sharing != batches => self.gpu.write(share, &[share_of(batches)])?,
            _ => {}
        }
        self.sharing = batches;
        Ok(())
    }

    /// The Program for batches of a shape, compiled now unless it is there.
    ///
    /// # Errors
    /// The errors of kernels, and [`Error::OutOfMemory`] when memory runs out.
    pub fn prepare(&mut self, shape: BatchShape) -> Result<&mut Program> {
        let Self { gpu, network, state, loss, optimizer, regularisation, .. } = self;
        let Self { teachers, bounded, sharing, share, summation, pool, programs, .. } = self;
        let among = summation.is_some() || optimizer.shard.is_some();
        programs.get_or_compile(shape, |shape| {
            let (regularisation, precision) = (*regularisation, optimizer.precision);
            let (trained, teachers) = (Some(&state.gradients), teachers.as_ref());
            let objective = Objective { regularisation, precision, trained, teachers };
            let training = TrainingGraph::new(network.as_ref(), *shape, &objective)?;
            let mut given = vec![(training.loss, loss.clone())];
            let scale = state.scaling.as_ref().map(|scaling| scaling.window([1])).transpose()?;
            given.extend(training.loss_scale.zip(scale));
            if let Some(value) = training.share {
                let share = match share {
                    Some(share) => share,
                    none => none.insert(gpu.tensor("share of the penalty", [1], Dtype::F32, &[share_of(*sharing)])?),
                };
                given.push((value, share.clone()));
            }
            let parameters = teachers.map(|teachers| teachers.beside(&state.parameters));
            let options = ProgramOptions {
                label: format!("training step {shape}"),
                parameters: Some(parameters.as_ref().unwrap_or(&state.parameters)),
                gradients: Some((&state.gradients, &training.gradients)),
                given: &given,
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            Program::compile_with(gpu, &training.graph, &options, |recorder, finish| {
                if among {
                    optimizer.record_total(recorder, state, finish.step)?;
                }
                bounded.iter().try_for_each(|one| one.record_before(recorder))?;
                match among {
                    true => optimizer.record_summed(recorder, state, finish.step, Some(loss))?,
                    false => optimizer.record(recorder, state, finish.step, Some(loss))?,
                }
                bounded.iter().try_for_each(|one| one.record_after(recorder))
            })
        })
    }

    /// Bytes of scratch for the optimiser.
    pub fn optimizer_scratch(&self) -> u64 {
        self.state.scratch.buffer().size()
    }
}

/// The share of the model's penalty that each batch of an update has; of ranks each has its own.
fn share_of(batches: u32) -> f32 {
    1.0 / batches.max(1) as f32
}
