//! A problem to measure a tile with: a small graph with its inputs.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Graph, Pool, Program, ProgramOptions, Value},
    kernels::Step,
};

/// A graph under construction, with the values of its inputs.
pub(super) struct Problem {
    pub graph: Graph,
    inputs: Vec<(String, Vec<u32>)>,
    random: ChaCha8Rng,
    outputs: Vec<Value>,
}

impl Problem {
    /// A problem from `build`, which makes the graph and returns the kernel's outputs.
    ///
    /// # Errors
    /// The error of `build`.
    pub fn new(build: impl FnOnce(&mut Self) -> Result<Vec<Value>>) -> Result<Self> {
        let random = ChaCha8Rng::seed_from_u64(1);
        let mut problem = Self { graph: Graph::new(), inputs: Vec::new(), random, outputs: Vec::new() };
        problem.outputs = build(&mut problem)?;
        Ok(problem)
    }

    /// An input of standard normal values times `scale`.
    pub fn values<const N: usize>(&mut self, shape: [usize; N], scale: f32) -> Value {
        let draw = |_| {
            let value: f32 = StandardNormal.sample(&mut self.random);
            (value * scale).to_bits()
        };
        let values = (0..shape.iter().product()).map(draw).collect();
        self.input(&shape, Dtype::F32, values)
    }

    /// An input of full lengths.
    pub fn lengths(&mut self, rows: usize, steps: usize) -> Value {
        self.input(&[rows], Dtype::U32, vec![steps as u32; rows])
    }

    /// The values that `from` returned, and the gradients of `wanted` given one of the first of them.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operation has no derivative ([`Graph::gradients_from`]).
    pub fn with_gradients<const N: usize>(
        &mut self,
        output: Value,
        shape: [usize; N],
        wanted: &[Value],
    ) -> Result<Vec<Value>> {
        let upstream = self.values(shape, 1.0);
        let mut outputs = vec![output];
        outputs.extend(self.graph.gradients_from(&[(output, upstream)], wanted)?);
        Ok(outputs)
    }

    fn input(&mut self, shape: &[usize], dtype: Dtype, values: Vec<u32>) -> Value {
        let name = format!("input {}", self.inputs.len());
        self.inputs.push((name.clone(), values));
        self.graph.input(name, shape, dtype)
    }

    /// Compiles it with the tiles of `gpu` and runs it once.
    ///
    /// # Errors
    /// The errors of kernels and of the device.
    pub fn compile(&self, gpu: &Gpu, pool: &Pool) -> Result<Program> {
        let options = ProgramOptions {
            label: "tune".into(),
            outputs: &self.outputs,
            pool: pool.clone(),
            ..ProgramOptions::default()
        };
        let mut program = Program::compile(gpu, &self.graph, &options)?;
        for (name, values) in &self.inputs {
            program.write(name, values)?;
        }
        program.run(Step::default())?;
        Ok(program)
    }

    /// The values of a Program that has run, output by output.
    ///
    /// # Errors
    /// The errors of the device.
    pub fn results(&self, program: &Program) -> Result<Vec<Vec<f32>>> {
        self.outputs.iter().map(|output| program.read(*output)).collect()
    }
}
