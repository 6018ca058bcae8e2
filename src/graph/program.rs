//! A compiled graph: memory planned, pipelines and bind groups made, ready to be replayed.

use std::collections::{HashMap, VecDeque};

use bytemuck::Pod;

use super::{
    Graph, MemoryReport, Value,
    placed::{Order, Placed, ProgramOptions, kept},
    pool::of_program,
};
use crate::{
    Error, Result,
    batch::{Batch, Column},
    gpu::{Gpu, Recorder, Recording, Ring, Tensor},
    kernels::Step,
};

/// The tensors of a graph for the kernels that follow it in its Program, such as an optimiser.
#[derive(Debug)]
pub struct Finish<'a> {
    outputs: &'a HashMap<Value, Tensor>,
    /// The [`Step`] buffer.
    pub step: &'a Tensor,
}

impl Finish<'_> {
    /// The tensor of a kept value.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value was not kept.
    pub fn tensor(&self, value: Value) -> Result<&Tensor> {
        kept(self.outputs, value)
    }
}

/// A part of a Program's dispatches, and tensors that the host is to read when it is done.
#[derive(Debug)]
pub struct Piece<'a> {
    /// The number of dispatches that are then done.
    pub until: usize,
    /// The tensors, which the buffer holds side by side.
    pub tensors: &'a [Tensor],
    /// A [`Gpu::readback_buffer`], which is mapped when they are there.
    pub to: &'a wgpu::Buffer,
}

/// A graph ready to run.
pub struct Program {
    gpu: Gpu,
    recording: Recording,
    /// Each with the number of dispatches after which it is whole.
    gradients: Vec<(Tensor, usize)>,
    /// The dispatches of the graph, behind which those lie that follow it.
    own: usize,
    inputs: HashMap<String, Tensor>,
    orders: Vec<Order>,
    outputs: HashMap<Value, Tensor>,
    step: Tensor,
    ring: Ring,
    staged: Vec<(Tensor, Vec<u8>)>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    memory: MemoryReport,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("recording", &self.recording).finish_non_exhaustive()
    }
}

impl Program {
    /// Plans memory, makes buffers, pipelines and bind groups.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or has another shape; the errors of kernels and of the device.
    pub fn compile(gpu: &Gpu, graph: &Graph, options: &ProgramOptions<'_>) -> Result<Self> {
        Self::compile_with(gpu, graph, options, |_, _| Ok(()))
    }

    /// Compiles a graph; `finish` records kernels that follow it, such as an optimiser.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or has another shape; the errors of kernels and of the device.
    pub fn compile_with(
        gpu: &Gpu,
        graph: &Graph,
        options: &ProgramOptions<'_>,
        finish: impl FnOnce(&mut Recorder, &Finish<'_>) -> Result<()>,
    ) -> Result<Self> {
        let held = options.pool.held();
        Draft::record(gpu, graph, options, finish)
            .and_then(|(recorder, draft)| draft.complete(&options.label, recorder.finish()))
            .inspect_err(|_| options.pool.restore(held))
    }

    /// Compiles a graph, and lets other tasks of the thread go on while the driver compiles.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or has another shape; the errors of kernels and of the device.
    pub async fn compile_async(gpu: &Gpu, graph: &Graph, options: &ProgramOptions<'_>) -> Result<Self> {
        let held = options.pool.held();
        let program = match Draft::record(gpu, graph, options, |_, _| Ok(())) {
            Ok((recorder, draft)) => draft.complete(&options.label, recorder.finish_async().await),
            Err(error) => Err(error),
        };
        program.inspect_err(|_| options.pool.restore(held))
    }

    /// Stages values for an input (`f32`, `u32` or the bits of an f16, by its type), and the order of tokens by which a table's
    /// gradient is added up; they arrive with the next run.
    ///
    /// # Errors
    /// [`Error::Shape`] for an unknown input or a wrong number of values.
    pub fn write<T: Pod>(&mut self, input: &str, values: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let tensor = self.inputs.get(input).filter(|tensor| tensor.bytes() == bytes.len() as u64);
        let Some(tensor) = tensor.cloned() else {
            return Err(Error::Shape {
                operation: "write",
                argument: "input",
                wanted: match self.inputs.get(input) {
                    Some(tensor) => format!("`{input}` {} {}", tensor.dtype(), tensor.shape()),
                    None => format!("one of {:?}", self.inputs.keys()),
                },
                got: format!("`{input}` with {} values of {} bytes", values.len(), size_of::<T>()),
            });
        };
        for Order { embedding, tensor, .. } in self.orders.iter().filter(|order| order.of == input) {
            let order = embedding.order(&bytemuck::pod_collect_to_vec::<u8, u32>(bytes))?;
            self.staged.push((tensor.clone(), bytemuck::cast_slice(&order).to_vec()));
        }
        self.staged.push((tensor, bytes.to_vec()));
        Ok(())
    }

    /// Stages every input that this Program has, each from the column of its name.
    ///
    /// # Errors
    /// [`Error::Data`] for an input that is no column; [`Error::Shape`] for a batch of another shape.
    pub fn stage(&mut self, batch: &Batch) -> Result<()> {
        for input in self.inputs().map(str::to_owned).collect::<Vec<_>>() {
            match batch.column(&input) {
                Some(Column::Tokens(values)) => self.write(&input, values)?,
                Some(Column::Weights(values)) => self.write(&input, values)?,
                None => return Err(Error::data("batch", format!("has no column `{input}`, which the graph reads"))),
            }
        }
        Ok(())
    }

    /// Runs once: one submit, nothing made. Returns without waiting, unless two runs are still under way.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device failed.
    pub fn run(&mut self, step: Step) -> Result<()> {
        if self.in_flight.len() == 2 {
            self.gpu.pace(self.in_flight.pop_front())?;
        }
        self.staged.push((self.step.clone(), bytemuck::bytes_of(&step).to_vec()));
        let (ring, staged) = (&mut self.ring, &mut self.staged);
        let submission = self.recording.submit_after(u64::from(step.step), |encoder| {
            ring.upload(encoder, staged)?;
            staged.clear();
            Ok(())
        })?;
        self.in_flight.push_back(submission);
        Ok(())
    }

    /// The gradients, each with the number of dispatches after which it is whole, in the order of these: what a caller that sums
    /// them over several devices can send while the rest of the backward pass runs.
    pub fn gradients(&self) -> &[(Tensor, usize)] {
        &self.gradients
    }

    /// Runs the graph alone, without what follows it, in pieces that end as they say. Returns at once.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_pieces(&mut self, step: Step, pieces: &[Piece<'_>]) -> Result<Vec<wgpu::SubmissionIndex>> {
        self.staged.push((self.step.clone(), bytemuck::bytes_of(&step).to_vec()));
        let (ring, staged) = (&mut self.ring, &mut self.staged);
        let mut from = 0;
        let mut submissions = Vec::with_capacity(pieces.len());
        for Piece { until, tensors, to } in pieces {
            let before = |encoder: &mut wgpu::CommandEncoder| {
                if !staged.is_empty() {
                    ring.upload(encoder, staged)?;
                    staged.clear();
                }
                Ok(())
            };
            let after = |encoder: &mut wgpu::CommandEncoder| {
                let mut place = 0;
                for tensor in *tensors {
                    let bytes = tensor.copied_bytes();
                    encoder.copy_buffer_to_buffer(tensor.buffer(), tensor.offset(), to, place, bytes);
                    place += bytes;
                }
                // A failure shows when the range is taken.
                encoder.map_buffer_on_submit(to, wgpu::MapMode::Read, .., |_| {});
            };
            submissions.push(self.recording.submit_part(u64::from(step.step), from..*until, before, after)?);
            from = *until;
        }
        Ok(submissions)
    }

    /// Runs what follows the graph, but for so many dispatches at its beginning.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_rest(&self, step: Step, without: usize) -> Result<()> {
        let all = self.recording.dispatches();
        let part = self.own.saturating_add(without).min(all)..all;
        self.recording.submit_part(u64::from(step.step), part, |_| Ok(()), |_| {}).map(drop)
    }

    /// The number of dispatches of the graph alone.
    pub fn own_dispatches(&self) -> usize {
        self.own
    }

    /// The tensor of a kept value, an input or a parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value was not kept.
    pub fn tensor(&self, value: Value) -> Result<&Tensor> {
        kept(&self.outputs, value)
    }

    /// Reads a kept value, waiting for the runs before.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value was not kept; [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed.
    pub fn read<T: Pod>(&self, value: Value) -> Result<Vec<T>> {
        self.gpu.read(self.tensor(value)?)
    }

    /// Reads a kept value without blocking the thread.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value was not kept; [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed.
    pub async fn read_async<T: Pod>(&self, value: Value) -> Result<Vec<T>> {
        self.gpu.read_async(self.tensor(value)?).await
    }

    /// The names of the inputs to write before a run: all that the graph uses, but for those whose tensors were given.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.keys().map(String::as_str)
    }

    /// The recorded dispatches.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Bytes by class, without parameters and gradients, which the caller owns.
    pub fn memory(&self) -> MemoryReport {
        self.memory
    }
}

/// A Program whose dispatches are recorded and not yet compiled.
struct Draft {
    gpu: Gpu,
    placed: Placed,
    gradients: Vec<(Tensor, usize)>,
    own: usize,
}

impl Draft {
    fn record(
        gpu: &Gpu,
        graph: &Graph,
        options: &ProgramOptions<'_>,
        finish: impl FnOnce(&mut Recorder, &Finish<'_>) -> Result<()>,
    ) -> Result<(Recorder, Self)> {
        let placed = Placed::new(gpu, graph, options)?;
        let mut recorder = Recorder::new(gpu, options.label.clone());
        let gradients = placed.record_gradients(&mut recorder)?;
        let own = recorder.dispatches();
        finish(&mut recorder, &Finish { outputs: &placed.outputs, step: &placed.step })?;
        Ok((recorder, Self { gpu: gpu.clone(), placed, gradients, own }))
    }

    fn complete(self, label: &str, recording: Result<Recording>) -> Result<Program> {
        let all = self.placed.memory.slots;
        recording.and_then(|recording| self.program(recording)).map_err(|error| of_program(error, label, all))
    }

    fn program(self, recording: Recording) -> Result<Program> {
        let Self { gpu, placed, gradients, own } = self;
        let Placed { inputs, orders, outputs, step, mut memory, .. } = placed;
        let written = inputs.values().chain(orders.iter().map(|order| &order.tensor));
        let upload = step.bytes() + written.map(Tensor::copied_bytes).sum::<u64>();
        let ring = Ring::new(&gpu, upload)?;
        memory.staging = ring.bytes();
        memory.settings = recording.settings() + step.buffer().size();
        Ok(Program {
            gpu,
            recording,
            gradients,
            own,
            inputs,
            orders,
            outputs,
            step,
            ring,
            staged: Vec::new(),
            in_flight: VecDeque::new(),
            memory,
        })
    }
}
