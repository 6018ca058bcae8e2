//! A graph with memory for its values.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Context, Graph, InPlace, MemoryReport, Operation, Parameters, Pool, Source, Value, plan::Place, select::copy,
};
use crate::{
    Error, Result,
    gpu::{Gpu, Recorder, Tensor},
    kernels::{Step, embedding::Embedding},
};

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
    /// Values whose tensors the caller gives, such as inputs that another Program writes; but no tokens of a table that has a gradient.
    pub given: &'a [(Value, Tensor)],
    /// Memory to share with other Programs.
    pub pool: Pool,
}

/// A graph whose values have memory: its kernels can be recorded among others, as often as they are to run.
#[derive(Debug)]
pub struct Placed {
    nodes: Vec<Ready>,
    /// Gradients that are no node's own output, and where they go.
    copies: Vec<[Tensor; 2]>,
    /// Gradients that are a node's own output, by the number of the node.
    written: Vec<(usize, Tensor)>,
    /// The inputs that the caller writes.
    pub(super) inputs: HashMap<String, Tensor>,
    /// What is made of them when they are written.
    pub(super) orders: Vec<Order>,
    pub(super) outputs: HashMap<Value, Tensor>,
    pub(super) step: Tensor,
    pub(super) memory: MemoryReport,
}

/// The order of an input's tokens.
#[derive(Debug)]
pub(super) struct Order {
    /// The input.
    pub of: String,
    pub embedding: Embedding,
    /// [`Embedding::order`].
    pub tensor: Tensor,
}

/// A node and its tensors.
#[derive(Debug)]
struct Ready {
    operation: Arc<dyn Operation>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    read: Vec<bool>,
    /// The input that is copied to where an output begins.
    copied: Option<InPlace>,
}

/// Gradients by where they are written.
#[derive(Default)]
struct Gradients {
    copies: Vec<(Value, Tensor)>,
    direct: Vec<(Value, Tensor)>,
}

impl Gradients {
    /// Most gradients are written straight to their buffer. Copied there are those of parameters that are added, which share one
    /// value, constants, and values that later nodes read: all gradients may lie in one buffer, which no dispatch can read and
    /// write at once.
    fn of(graph: &Graph, options: &ProgramOptions<'_>) -> Result<Self> {
        let read: HashSet<Value> = graph.nodes.iter().flat_map(|node| node.inputs.iter().copied()).collect();
        let given: HashSet<Value> = options.given.iter().map(|(value, _)| *value).collect();
        let mut found = Self::default();
        let Some((tensors, gradients)) = options.gradients else { return Ok(found) };
        for (name, value) in gradients {
            let tensor = parameter(tensors, name, graph, *value)?;
            let shared = gradients.iter().filter(|(_, other)| other == value).count() > 1;
            let is_constant = graph.values[value.0].source != Source::Node;
            let is_copied = shared || is_constant || read.contains(value) || given.contains(value);
            let list = if is_copied { &mut found.copies } else { &mut found.direct };
            list.push((*value, tensor));
        }
        Ok(found)
    }
}

impl Placed {
    /// Plans memory, and makes the buffers that there are not.
    ///
    /// # Errors
    /// [`Error::Shape`] for a parameter that is missing or has another shape; [`Error::Limit`] and [`Error::OutOfMemory`] where memory
    /// does not reach.
    pub fn new(gpu: &Gpu, graph: &Graph, options: &ProgramOptions<'_>) -> Result<Self> {
        let mut kept = options.outputs.to_vec();
        kept.extend(options.gradients.iter().flat_map(|(_, gradients)| gradients.iter().map(|(_, value)| *value)));
        kept.extend(options.given.iter().map(|(value, _)| *value));
        let plan = graph.plan(&kept);
        let slots = options.pool.take(gpu, &options.label, &plan.slots)?;
        let mut memory =
            MemoryReport { slots: plan.slots.iter().sum(), unshared: plan.unshared, ..MemoryReport::default() };
        let gradients = Gradients::of(graph, options)?;
        let nodes = graph.nodes.iter().enumerate().filter(|(index, _)| plan.runs[*index]);
        let is_output = |node: &super::Node, (value, tensor): &(Value, Tensor)| {
            node.outputs.contains(value).then(|| tensor.clone())
        };
        let written = nodes.enumerate().flat_map(|(number, (_, node))| {
            gradients.direct.iter().filter_map(move |one| Some((number, is_output(node, one)?)))
        });
        let written = written.collect();
        let given: HashMap<Value, Tensor> = options.given.iter().cloned().chain(gradients.direct).collect();
        let (mut tensors, mut inputs, mut outputs) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut orders = Vec::new();
        for (index, (info, place)) in graph.values.iter().zip(&plan.places).enumerate() {
            let value = Value(index);
            let bytes = graph.bytes(value);
            let tensor = match (place, &info.source) {
                (Place::Nowhere, _) => None,
                (Place::Slot { slot, at }, _) => {
                    Some(Tensor::new(gpu, slots[*slot].clone(), *at, info.shape.clone(), info.dtype)?)
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
                (Place::Own, Source::Order { tokens, embedding }) => {
                    memory.inputs += bytes;
                    let Source::Input(of) = &graph.values[tokens.0].source else { return Err(unordered()) };
                    if given.contains_key(tokens) {
                        return Err(unordered());
                    }
                    let of_zeros = embedding.order(&vec![0; embedding.tokens])?;
                    let tensor = gpu.tensor("order", info.shape.clone(), info.dtype, &of_zeros)?;
                    orders.push(Order { of: of.clone(), embedding: *embedding, tensor: tensor.clone() });
                    Some(tensor)
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
        let pick =
            |values: &[Value]| -> Vec<Tensor> { values.iter().filter_map(|value| tensors[value.0].clone()).collect() };
        let nodes = graph.nodes.iter().enumerate().filter(|(index, _)| plan.runs[*index]).map(|(index, node)| Ready {
            inputs: pick(&node.inputs),
            outputs: pick(&node.outputs),
            read: node.outputs.iter().map(|output| plan.read[output.0]).collect(),
            copied: node.operation.in_place().filter(|_| plan.copies[index]),
            operation: Arc::clone(&node.operation),
        });
        let nodes = nodes.collect();
        let copies = gradients.copies.into_iter().map(|(value, to)| [outputs[&value].clone(), to]).collect();
        Ok(Self { nodes, copies, written, inputs, orders, outputs, step: Step::buffer(gpu)?, memory })
    }

    /// Records the kernels of all nodes.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record(&self, recorder: &mut Recorder) -> Result<()> {
        self.record_gradients(recorder).map(drop)
    }

    /// Records the kernels of all nodes. Returns the gradients, each with the number of dispatches after which it is whole.
    pub(super) fn record_gradients(&self, recorder: &mut Recorder) -> Result<Vec<(Tensor, usize)>> {
        let mut whole = Vec::new();
        for (number, Ready { operation, inputs, outputs, read, copied }) in self.nodes.iter().enumerate() {
            if let Some(InPlace { input, output, offset, .. }) = *copied {
                let (from, to) = (&inputs[input], &outputs[output]);
                copy(recorder, (from, 0), (to, offset), from.elements())?;
            }
            operation.record(recorder, &Context { inputs, outputs, read, step: &self.step })?;
            let written = self.written.iter().filter(|(node, _)| *node == number);
            whole.extend(written.map(|(_, gradient)| (gradient.clone(), recorder.dispatches())));
        }
        for [from, to] in &self.copies {
            copy(recorder, (from, 0), (to, 0), to.elements())?;
            whole.push((to.clone(), recorder.dispatches()));
        }
        Ok(whole)
    }

    /// The tensor of a kept value, an input or a parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value was not kept.
    pub fn tensor(&self, value: Value) -> Result<&Tensor> {
        kept(&self.outputs, value)
    }
}

/// The tensor of a value among those that were kept.
pub(super) fn kept(outputs: &HashMap<Value, Tensor>, value: Value) -> Result<&Tensor> {
    outputs.get(&value).ok_or_else(|| Error::Shape {
        operation: "program",
        argument: "value",
        wanted: "an input, a parameter or a kept output".into(),
        got: "a value whose memory is shared; name it in `outputs`".into(),
    })
}

fn parameter(parameters: &Parameters, name: &str, graph: &Graph, value: Value) -> Result<Tensor> {
    parameters
        .tensor(name)
        .filter(|tensor| tensor.shape() == graph.shape(value) && tensor.dtype() == graph.dtype(value))
        .ok_or_else(|| missing(name, graph, value))
}

fn unordered() -> Error {
    Error::Shape {
        operation: "embedding",
        argument: "tokens",
        wanted: "an input that the host writes, where the table is to have a gradient".into(),
        got: "one whose tensor is given".into(),
    }
}

fn missing(name: &str, graph: &Graph, value: Value) -> Error {
    Error::Shape {
        operation: "program",
        argument: "parameters",
        wanted: format!("`{name}` {} {}", graph.dtype(value), graph.shape(value)),
        got: "none of that name, type and shape".into(),
    }
}
