//! One training step after another on the device.

use std::collections::{HashMap, VecDeque};

use super::{Optimizer, optimizer::State};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, ELEMENT},
    graph::{Parameters, Pool, Program, ProgramOptions},
    kernels::Step,
    model::Seq2Seq,
    text::Batch,
};

/// Programs kept at a time; the one that was not used for longest makes room.
const PROGRAMS: usize = 32;

/// A model in training: gradients, moments, and a compiled Program for each shape of batch.
#[derive(Debug)]
pub struct Trainer {
    gpu: Gpu,
    network: Seq2Seq,
    /// Parameters, gradients and moments.
    pub state: State,
    /// The loss of the last step, `[1]`.
    pub loss: Tensor,
    optimizer: Optimizer,
    label_smoothing: f32,
    pool: Pool,
    programs: HashMap<[usize; 3], Program>,
    recent: VecDeque<[usize; 3]>,
}

impl Trainer {
    /// A trainer of `network` with moments of zero; it changes `parameters` in place.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when memory runs out.
    pub fn new(
        gpu: &Gpu,
        network: &Seq2Seq,
        parameters: &Parameters,
        optimizer: Optimizer,
        label_smoothing: f32,
    ) -> Result<Self> {
        Ok(Self {
            network: network.clone(),
            state: State::new(gpu, parameters)?,
            loss: gpu.zeros("loss", [1], Dtype::F32)?,
            optimizer,
            label_smoothing,
            pool: Pool::default(),
            programs: HashMap::new(),
            recent: VecDeque::new(),
            gpu: gpu.clone(),
        })
    }

    /// Runs one step on a batch: forward, backward, clipping, Adam. Returns at once; at most two steps are under way.
    ///
    /// # Errors
    /// What compiling (at the first batch of a shape) or the device reports.
    pub fn step(&mut self, batch: &Batch, step: u32, seed: u32, learning_rate: f32) -> Result<()> {
        let shape = [batch.rows, batch.source_steps, batch.target_steps];
        self.prepare(shape)?;
        let Some(program) = self.programs.get_mut(&shape) else { unreachable!("it was just prepared") };
        program.write("source", &batch.source)?;
        program.write("lengths", &batch.lengths)?;
        program.write("target_in", &batch.target_in)?;
        program.write("target_out", &batch.target_out)?;
        let loss_scale = 1.0 / batch.target_tokens.max(1) as f32;
        program.run(Step { step, seed, learning_rate, loss_scale })
    }

    /// Compiles the Program for batches of a shape `[B, S, T]`, if there is none yet.
    ///
    /// # Errors
    /// What compiling reports.
    pub fn prepare(&mut self, shape: [usize; 3]) -> Result<()> {
        self.recent.retain(|used| *used != shape);
        self.recent.push_back(shape);
        if self.programs.contains_key(&shape) {
            return Ok(());
        }
        if self.programs.len() == PROGRAMS
            && let Some(oldest) = self.recent.pop_front()
        {
            self.programs.remove(&oldest);
        }
        let training = self.network.training_graph(shape, self.label_smoothing)?;
        let options = ProgramOptions {
            label: format!("training step {shape:?}"),
            parameters: Some(&self.state.parameters),
            gradients: Some((&self.state.gradients, &training.gradients)),
            given: &[(training.loss, self.loss.clone())],
            pool: self.pool.clone(),
            ..ProgramOptions::default()
        };
        let program = Program::compile_with(&self.gpu, &training.graph, &options, |recorder, finish| {
            self.optimizer.record(recorder, &self.state, finish.step, Some(&self.loss))
        })?;
        self.programs.insert(shape, program);
        Ok(())
    }

    /// Bytes of scratch that each Program has for the optimiser.
    pub fn optimizer_scratch(&self) -> u64 {
        (self.optimizer.scratch(&self.state) as u64 * ELEMENT).next_multiple_of(256)
    }

    /// The Program for a shape, once prepared.
    pub fn program(&self, shape: [usize; 3]) -> Option<&Program> {
        self.programs.get(&shape)
    }
}
