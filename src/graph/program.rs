//! A compiled graph: memory planned, pipelines and bind groups made, ready to be replayed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytemuck::Pod;

use super::{Context, Graph, MemoryReport, Parameters, Source, Value, plan::Place, select::copy};
use crate::{
    Error, Result,
    batch::{Batch, Column},
    gpu::{Gpu, Recorder, Recording, Ring, Tensor},
    kernels::Step,
};

/// Buffers that Programs share: they never run at the same time, so each may use all of them.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    buffers: Arc<Mutex<Vec<wgpu::Buffer>>>,
}

impl Pool {
    /// A buffer for each of `sizes`; those of the pool first, largest to largest. If memory runs out the pool is as before.
    fn take(&self, gpu: &Gpu, label: &str, sizes: &[u64]) -> Result<Vec<wgpu::Buffer>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.size()));
        let mut order: Vec<_> = (0..sizes.len()).collect();
        order.sort_by_key(|slot| std::cmp::Reverse(sizes[*slot]));
        let mut taken: Vec<Option<wgpu::Buffer>> = vec![None; sizes.len()];
        let before = buffers.len();
        let mut available = buffers.clone().into_iter().peekable();
        for slot in order {
            let buffer = match available.next_if(|buffer| buffer.size() >= sizes[slot]) {
                Some(buffer) => buffer,
                None => {
                    let buffer = gpu.buffer("activations", sizes[slot]).map_err(|error| {
                        buffers.truncate(before);
                        of_program(error, label, sizes.iter().sum())
                    })?;
                    buffers.push(buffer.clone());
                    buffer
                }
            };
            taken[slot] = Some(buffer);
        }
        Ok(taken.into_iter().flatten().collect())
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).iter().map(wgpu::Buffer::size).sum()
    }
}

/// Options for compiling a graph. Fields will be added: end a literal with `..ProgramOptions::default()`.
#[derive(Debug, Default)]
pub struct ProgramOptions<'a> {
    /// The Program's name in errors and debuggers.
    pub label: String,
    /// The values of the graph's parameters.
    pub parameters: Option<&'a Parameters>,
    /// Gradients to keep: the buffers, and pairs of a parameter's name and the value that is its gradient.
    pub gradients: Option<(&'a Parameters, &'a [(String, Value)])>,
    /// Values to keep: they can be read after a run.
    pub outputs: &'a [Value],
    /// Values whose tensors the caller gives, such as inputs that another Program writes.
    pub given: &'a [(Value, Tensor)],
    /// Memory to share with other Programs.
    pub pool: Pool,
}

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

fn kept(outputs: &HashMap<Value, Tensor>, value: Value) -> Result<&Tensor> {
    outputs.get(&value).ok_or_else(|| Error::Shape {
        operation: "program",
        argument: "value",
        wanted: "an input, a parameter or a kept output".into(),
        got: "a value whose memory is shared; name it in `outputs`".into(),
    })
}

/// A graph ready to run.
pub struct Program {
    gpu: Gpu,
    recording: Recording,
    inputs: HashMap<String, Tensor>,
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
        let (recorder, draft) = Draft::record(gpu, graph, options, finish)?;
        draft.complete(recorder.finish()?)
    }

    /// Compiles a graph, and lets other tasks of the thread go on while the driver compiles.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or has another shape; the errors of kernels and of the device.
    pub async fn compile_async(gpu: &Gpu, graph: &Graph, options: &ProgramOptions<'_>) -> Result<Self> {
        let (recorder, draft) = Draft::record(gpu, graph, options, |_, _| Ok(()))?;
        draft.complete(recorder.finish_async().await?)
    }

    /// Stages values for an input (`f32`, `u32` or the bits of an f16, by its type); they arrive with the next run.
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
    inputs: HashMap<String, Tensor>,
    outputs: HashMap<Value, Tensor>,
    step: Tensor,
    memory: MemoryReport,
}

impl Draft {
    fn record(
        gpu: &Gpu,
        graph: &Graph,
        options: &ProgramOptions<'_>,
        finish: impl FnOnce(&mut Recorder, &Finish<'_>) -> Result<()>,
    ) -> Result<(Recorder, Self)> {
        let gradients: &[(String, Value)] = options.gradients.map_or(&[], |(_, gradients)| gradients);
        let mut kept = options.outputs.to_vec();
        kept.extend(gradients.iter().map(|(_, value)| *value));
        kept.extend(options.given.iter().map(|(value, _)| *value));
        let plan = graph.plan(&kept);
        let slots = options.pool.take(gpu, &options.label, &plan.slots)?;
        let mut memory =
            MemoryReport { slots: plan.slots.iter().sum(), unshared: plan.unshared, ..MemoryReport::default() };
        let mut given: HashMap<Value, Tensor> = options.given.iter().cloned().collect();
        // Most gradients are written straight to their buffer. Copied there are those of parameters that are added, which
        // share one value, constants, and values that later nodes read: all gradients may lie in one buffer, which no
        // dispatch can read and write at once.
        let read: HashSet<Value> = graph.nodes.iter().flat_map(|node| node.inputs.iter().copied()).collect();
        let mut copies: Vec<(Value, Tensor)> = Vec::new();
        if let Some((tensors, gradients)) = options.gradients {
            for (name, value) in gradients {
                let tensor = parameter(tensors, name, graph, *value)?;
                let shared = gradients.iter().filter(|(_, other)| other == value).count() > 1;
                let is_constant = graph.values[value.0].source != Source::Node;
                if shared || is_constant || read.contains(value) || given.contains_key(value) {
                    copies.push((*value, tensor));
                } else {
                    given.insert(*value, tensor);
                }
            }
        }
        let (mut tensors, mut inputs, mut outputs) = (Vec::new(), HashMap::new(), HashMap::new());
        for (index, (info, place)) in graph.values.iter().zip(&plan.places).enumerate() {
            let value = Value(index);
            let bytes = graph.bytes(value);
            let tensor = match (place, &info.source) {
                (Place::Nowhere, _) => None,
                (Place::Slot(slot), _) => {
                    Some(Tensor::new(gpu, slots[*slot].clone(), 0, info.shape.clone(), info.dtype)?)
                }
                (Place::Own, _) if given.contains_key(&value) => given.get(&value).cloned(),
                (Place::Own, Source::Parameter(name)) => Some(match options.parameters {
                    Some(parameters) => parameter(parameters, name, graph, value)?,
                    None => return Err(missing(name, graph, value)),
                }),
                (Place::Own, Source::Filled(_) | Source::Constant(_)) => {
                    memory.inputs += bytes;
                    Some(gpu.floats("constant", info.shape.clone(), info.dtype, &info.constant())?)
                }
                (Place::Own, Source::Input(name)) => {
                    memory.inputs += bytes;
                    Some(gpu.zeros(name, info.shape.clone(), info.dtype)?)
                }
                (Place::Own, Source::Node) => {
                    memory.outputs += bytes;
                    Some(gpu.zeros("output", info.shape.clone(), info.dtype)?)
                }
            };
            if let (Some(tensor), Source::Input(name), false) = (&tensor, &info.source, given.contains_key(&value)) {
                inputs.insert(name.clone(), tensor.clone());
            }
            if let Some(tensor) = tensor.as_ref().filter(|_| *place == Place::Own) {
                outputs.insert(value, tensor.clone());
            }
            tensors.push(tensor);
        }
        let step = Step::buffer(gpu)?;
        let mut recorder = Recorder::new(gpu, options.label.clone());
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| plan.runs[*index]) {
            let pick = |values: &[Value]| -> Vec<Tensor> {
                values.iter().filter_map(|value| tensors[value.0].clone()).collect()
            };
            let (inputs, outputs) = (pick(&node.inputs), pick(&node.outputs));
            if let Some(input) = node.operation.in_place().filter(|_| plan.copies[index]) {
                let (from, to) = (&inputs[input], &outputs[0]);
                copy(&mut recorder, (from, 0), (to, 0), to.elements())?;
            }
            node.operation.record(&mut recorder, &Context { inputs: &inputs, outputs: &outputs, step: &step })?;
        }
        for (value, to) in &copies {
            copy(&mut recorder, (&outputs[value], 0), (to, 0), to.elements())?;
        }
        finish(&mut recorder, &Finish { outputs: &outputs, step: &step })?;
        Ok((recorder, Self { gpu: gpu.clone(), inputs, outputs, step, memory }))
    }

    fn complete(self, recording: Recording) -> Result<Program> {
        let Self { gpu, inputs, outputs, step, mut memory } = self;
        let upload = step.bytes() + inputs.values().map(Tensor::copied_bytes).sum::<u64>();
        let ring = Ring::new(&gpu, upload)?;
        memory.staging = ring.bytes();
        memory.settings = recording.settings() + step.buffer().size();
        Ok(Program {
            gpu,
            recording,
            inputs,
            outputs,
            step,
            ring,
            staged: Vec::new(),
            in_flight: VecDeque::new(),
            memory,
        })
    }
}

/// Adds to an error of memory the bytes that all activations of the Program take.
fn of_program(error: Error, label: &str, all: u64) -> Error {
    let within = |what| format!("{label}, whose activations take {all} bytes in all: {what}");
    match error {
        Error::OutOfMemory { what, need, held, free, message } => {
            Error::OutOfMemory { what: within(what), need, held, free, message }
        }
        Error::Limit { what, need, limit, have, remedy } => {
            Error::Limit { what: within(what), need, limit, have, remedy }
        }
        other => other,
    }
}

fn parameter(parameters: &Parameters, name: &str, graph: &Graph, value: Value) -> Result<Tensor> {
    parameters
        .tensor(name)
        .filter(|tensor| tensor.shape() == graph.shape(value) && tensor.dtype() == graph.dtype(value))
        .ok_or_else(|| missing(name, graph, value))
}

fn missing(name: &str, graph: &Graph, value: Value) -> Error {
    Error::Shape {
        operation: "program",
        argument: "parameters",
        wanted: format!("`{name}` {} {}", graph.dtype(value), graph.shape(value)),
        got: "none of that name, type and shape".into(),
    }
}
