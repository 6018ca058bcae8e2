//! Operations on arrays in the host's memory, forward and backward: what other languages call, and what tries a kernel by hand.
//!
//! A call uploads its arrays, runs the small Program of its operation and shapes, and reads the results back. Programs are kept, so
//! the next call with the same shapes compiles nothing. A backward pass keeps nothing of the forward one: it runs both. What runs
//! often is faster as a [`Graph`] of its own, whose tensors stay on the device.

mod operation;

use std::sync::{Mutex, PoisonError};

pub use operation::Operation;

use crate::{
    Error, Gpu, Result,
    gpu::{Dtype, Shape},
    graph::{Graph, Pool, Program, ProgramOptions, Programs, Value},
    kernels::Step,
};

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The extents.
    pub shape: Shape,
    /// As many as the shape has elements.
    pub values: Vec<f32>,
}

/// A device on which operations run, and their Programs.
pub struct Arrays {
    gpu: Gpu,
    pool: Pool,
    programs: Mutex<Programs<Call, Compiled>>,
}

impl std::fmt::Debug for Arrays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrays").field("gpu", self.gpu.info()).finish_non_exhaustive()
    }
}

/// What a Program is compiled for.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    operation: Operation,
    inputs: Vec<Shape>,
    /// The number of lengths, where there are any.
    lengths: Option<usize>,
    /// For a backward pass the gradients of the outputs; those that are absent are zero.
    upstream: Option<Vec<Option<Shape>>>,
}

/// The Program of a call.
struct Compiled {
    program: Program,
    results: Vec<(Value, Shape)>,
    /// The most that a length may be.
    longest: usize,
}

/// The input of the lengths; others are numbered.
const LENGTHS: &str = "lengths";

fn input(place: usize) -> String {
    format!("input {place}")
}

fn upstream(place: usize) -> String {
    format!("gradient of output {place}")
}

impl Arrays {
    /// Operations on `gpu`.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), pool: Pool::default(), programs: Mutex::default() }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The outputs of an operation, in the order that [`Operation`] says. `lengths`: how many steps, keys or columns of each row are
    /// valid; without them all are.
    ///
    /// # Errors
    /// [`Error::Shape`] for inputs that do not fit the operation, or a length past its row's end; the errors of the device.
    pub fn forward(&self, operation: Operation, inputs: &[Array], lengths: Option<&[u32]>) -> Result<Vec<Array>> {
        self.run(operation, inputs, lengths, None)
    }

    /// The gradients of an operation's inputs, in their order, from those of its outputs, of which at least one is given; those that
    /// are not are zero.
    ///
    /// # Errors
    /// [`Error::Shape`] for inputs that do not fit the operation, gradients that do not fit its outputs, or a length past its row's
    /// end; the errors of the device.
    pub fn backward(
        &self,
        operation: Operation,
        inputs: &[Array],
        lengths: Option<&[u32]>,
        upstream: &[Option<Array>],
    ) -> Result<Vec<Array>> {
        self.run(operation, inputs, lengths, Some(upstream))
    }

    fn run(
        &self,
        operation: Operation,
        inputs: &[Array],
        lengths: Option<&[u32]>,
        gradients: Option<&[Option<Array>]>,
    ) -> Result<Vec<Array>> {
        let shape = |array: &Array| array.shape.clone();
        let call = Call {
            operation,
            inputs: inputs.iter().map(shape).collect(),
            lengths: lengths.map(<[u32]>::len),
            upstream: gradients.map(|given| given.iter().map(|array| array.as_ref().map(shape)).collect()),
        };
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = programs.get_or_compile(call, |call| Compiled::new(&self.gpu, &self.pool, call))?;
        let Compiled { program, results, longest } = compiled;
        if let Some(lengths) = lengths {
            if let Some(length) = lengths.iter().find(|length| **length as usize > *longest) {
                let (wanted, got) = (format!("at most {longest}"), length.to_string());
                return Err(Error::Shape { operation: operation.name(), argument: LENGTHS, wanted, got });
            }
            program.write(LENGTHS, lengths)?;
        }
        for (place, array) in inputs.iter().enumerate() {
            program.write(&input(place), &array.values)?;
        }
        let given = gradients.unwrap_or_default().iter().enumerate();
        for (place, array) in given.filter_map(|(place, array)| Some((place, array.as_ref()?))) {
            program.write(&upstream(place), &array.values)?;
        }
        program.run(Step::default())?;
        let read = |(value, shape): &(Value, Shape)| Ok(Array { shape: shape.clone(), values: program.read(*value)? });
        results.iter().map(read).collect()
    }
}

impl Compiled {
    fn new(gpu: &Gpu, pool: &Pool, call: &Call) -> Result<Self> {
        let mut graph = Graph::new();
        let named = call.inputs.iter().enumerate();
        let inputs: Vec<_> = named.map(|(place, shape)| graph.input(input(place), shape.clone(), Dtype::F32)).collect();
        let lengths = call.lengths.map(|rows| graph.input(LENGTHS, [rows], Dtype::U32));
        let (mut results, longest) = call.operation.record(&mut graph, &inputs, lengths)?;
        if let Some(given) = &call.upstream {
            let shapes = given.iter().enumerate().filter_map(|(place, shape)| Some((place, shape.clone()?)));
            let gradients = shapes.map(|(place, shape)| {
                let output = results.get(place).copied().ok_or_else(|| Error::Shape {
                    operation: call.operation.name(),
                    argument: "upstream",
                    wanted: format!("gradients of {} outputs", results.len()),
                    got: format!("one of output {place}, from 0"),
                })?;
                Ok((output, graph.input(upstream(place), shape, Dtype::F32)))
            });
            let gradients = gradients.collect::<Result<Vec<_>>>()?;
            results = graph.gradients_from(&gradients, &inputs)?;
        }
        let options = ProgramOptions {
            label: call.operation.name().into(),
            outputs: &results,
            pool: pool.clone(),
            ..ProgramOptions::default()
        };
        let program = Program::compile(gpu, &graph, &options)?;
        let results = results.iter().map(|value| (*value, graph.shape(*value).clone())).collect();
        Ok(Self { program, results, longest })
    }
}
