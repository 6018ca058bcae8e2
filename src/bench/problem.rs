//! A graph with its inputs, as a [`Subject`].

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Subject, Work};
use crate::{
    Gpu, Result, Tensor,
    gpu::Dtype,
    graph::{Graph, Program, ProgramOptions, Value},
    kernels::Step,
    validate::widen,
};

/// Values of a tensor, on the host as the reference takes them.
pub(super) struct Operand {
    pub value: Value,
    pub host: Vec<f64>,
}

/// A graph under construction, and what its inputs hold.
pub(super) struct Problem {
    gpu: Gpu,
    /// The type of activations and their gradients.
    dtype: Dtype,
    pub graph: Graph,
    inputs: Vec<(String, Vec<u8>)>,
    random: ChaCha8Rng,
}

impl Problem {
    pub fn new(gpu: &Gpu) -> Self {
        Self::of(gpu, Dtype::F32)
    }

    /// A problem whose activations are of `dtype`.
    pub fn of(gpu: &Gpu, dtype: Dtype) -> Self {
        let random = ChaCha8Rng::seed_from_u64(1);
        Self { gpu: gpu.clone(), dtype, graph: Graph::new(), inputs: Vec::new(), random }
    }

    fn input(&mut self, shape: &[usize], dtype: Dtype, bytes: Vec<u8>) -> Value {
        let name = format!("input {}", self.inputs.len());
        let value = self.graph.input(name.clone(), shape, dtype);
        self.inputs.push((name, bytes));
        value
    }

    /// The operand holds what is left of the values in `dtype`.
    fn operand(&mut self, shape: &[usize], dtype: Dtype, values: &[f32]) -> Operand {
        let bytes = dtype.encode(values);
        let host = widen(&dtype.decode(&bytes));
        Operand { value: self.input(shape, dtype, bytes), host }
    }

    /// Values in (-scale, scale) without a pattern.
    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.random.random_range(-scale..scale)).collect()
    }

    /// Activations of these values.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> Operand {
        self.operand(shape, self.dtype, values)
    }

    /// Activations of random values in (-scale, scale).
    pub fn random(&mut self, shape: &[usize], scale: f32) -> Operand {
        let values = self.values(shape.iter().product(), scale);
        self.floats(shape, &values)
    }

    /// Parameters of random values in (-scale, scale): f32 always.
    pub fn parameter(&mut self, shape: &[usize], scale: f32) -> Operand {
        let values = self.values(shape.iter().product(), scale);
        self.operand(shape, Dtype::F32, &values)
    }

    /// An input of whole numbers.
    pub fn words(&mut self, shape: &[usize], values: &[u32]) -> Value {
        self.input(shape, Dtype::U32, bytemuck::cast_slice(values).to_vec())
    }

    /// An input of random whole numbers from `first` to below `end`.
    pub fn tokens(&mut self, shape: &[usize], first: u32, end: u32) -> (Value, Vec<u32>) {
        let values: Vec<u32> = (0..shape.iter().product()).map(|_| self.random.random_range(first..end)).collect();
        (self.words(shape, &values), values)
    }

    /// Compiles the graph so that `outputs` are kept. `error` gets what they hold after a run, in this order; before it they
    /// hold nothing but NaN.
    pub fn finish(
        self,
        outputs: &[Value],
        step: Step,
        error: impl FnOnce(&[Vec<f32>]) -> f64 + 'static,
    ) -> Result<Subject> {
        let options = ProgramOptions { label: "bench".into(), outputs, ..ProgramOptions::default() };
        let mut program = Program::compile(&self.gpu, &self.graph, &options)?;
        // Upstream gradients of a backward that is not asked for are not used.
        let used: Vec<_> = program.inputs().map(str::to_owned).collect();
        for (name, values) in self.inputs.iter().filter(|(name, _)| used.contains(name)) {
            program.write(name, values)?;
        }
        let tensors: Vec<Tensor> =
            outputs.iter().map(|value| program.tensor(*value).cloned()).collect::<Result<_>>()?;
        let tolerance = super::workloads::tolerance(self.dtype);
        let (gpu, scratch) = (self.gpu, program.memory().slots);
        let check = move |work: &mut Work| {
            for tensor in &tensors {
                gpu.write(tensor, &tensor.dtype().encode(&vec![f32::NAN; tensor.elements()]))?;
            }
            if let Work::Program(program) = work {
                program.run(step)?;
            }
            let found: Vec<Vec<f32>> = tensors.iter().map(|tensor| gpu.read_floats(tensor)).collect::<Result<_>>()?;
            Ok(error(&found))
        };
        Ok(Subject {
            work: Work::Program(Box::new(program)),
            check: Box::new(check),
            tolerance,
            operations: None,
            tokens: None,
            scratch,
            label: None,
        })
    }
}
