//! A graph with its inputs, as a [`Subject`].

use bytemuck::Pod;
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
    pub graph: Graph,
    inputs: Vec<(String, Vec<u32>)>,
    random: ChaCha8Rng,
}

impl Problem {
    pub fn new(gpu: &Gpu) -> Self {
        let random = ChaCha8Rng::seed_from_u64(1);
        Self { gpu: gpu.clone(), graph: Graph::new(), inputs: Vec::new(), random }
    }

    fn input<T: Pod>(&mut self, shape: &[usize], dtype: Dtype, values: &[T]) -> Value {
        let name = format!("input {}", self.inputs.len());
        let value = self.graph.input(name.clone(), shape, dtype);
        self.inputs.push((name, bytemuck::cast_slice(values).to_vec()));
        value
    }

    /// Values in (-scale, scale) without a pattern.
    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.random.random_range(-scale..scale)).collect()
    }

    /// An input of these values.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> Operand {
        Operand { value: self.input(shape, Dtype::F32, values), host: widen(values) }
    }

    /// An input of random values in (-scale, scale).
    pub fn random(&mut self, shape: &[usize], scale: f32) -> Operand {
        let values = self.values(shape.iter().product(), scale);
        self.floats(shape, &values)
    }

    /// An input of whole numbers.
    pub fn words(&mut self, shape: &[usize], values: &[u32]) -> Value {
        self.input(shape, Dtype::U32, values)
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
        // What is upstream of a backward that is not asked for is not used.
        let used = program.inputs();
        for (name, values) in self.inputs.iter().filter(|(name, _)| used.contains(name)) {
            program.write(name, values)?;
        }
        let tensors: Vec<Tensor> =
            outputs.iter().map(|value| program.tensor(*value).cloned()).collect::<Result<_>>()?;
        let (gpu, scratch) = (self.gpu, program.memory().slots);
        let check = move |work: &mut Work| {
            for tensor in &tensors {
                gpu.write(tensor, &vec![f32::NAN; tensor.elements()])?;
            }
            if let Work::Program(program) = work {
                program.run(step)?;
            }
            let found: Vec<Vec<f32>> = tensors.iter().map(|tensor| gpu.read(tensor)).collect::<Result<_>>()?;
            Ok(error(&found))
        };
        Ok(Subject {
            work: Work::Program(Box::new(program)),
            check: Box::new(check),
            tolerance: super::workloads::TOLERANCE,
            operations: None,
            tokens: None,
            scratch,
            label: None,
        })
    }
}
