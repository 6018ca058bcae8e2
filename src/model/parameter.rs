//! Parameters as layers declare them. Names and layouts are those of PyTorch's modules, so that `load_state_dict` takes them, and
//! first values are drawn as PyTorch draws them.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::{Error, Gpu, Result, Tensor, gpu::Shape, graph::Parameters};

/// The distribution of first values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// The normal distribution around 0 with this standard deviation.
    Normal(f32),
    /// Evenly from within this distance of 0.
    Uniform(f32),
    /// The same value everywhere.
    Constant(f32),
}

impl Initial {
    /// Evenly within one over the root of a layer's input size.
    pub fn of_inputs(inputs: usize) -> Self {
        Self::Uniform(1.0 / (inputs as f32).sqrt())
    }

    /// Evenly within the root of six over the sum of a layer's sizes, so that values keep their variance forward, and gradients
    /// backward (Glorot and Bengio 2010, equation 16).
    pub fn of_sizes(inputs: usize, outputs: usize) -> Self {
        Self::Uniform((6.0 / (inputs + outputs) as f32).sqrt())
    }
}

/// A trainable tensor, as its layer declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name in files.
    pub name: String,
    /// The extents.
    pub shape: Shape,
    /// The distribution of first values.
    pub initial: Initial,
    /// Other names that files may have for it: PyTorch's `state_dict` lists a tensor that layers share under each of theirs.
    pub aliases: Vec<String>,
    /// The least and the largest value, between which training keeps it: its steps are as large as if a share of the width between
    /// them were what is learnt ([`crate::kernels::bounded_step`]).
    pub bounds: Option<[f32; 2]>,
    /// Its share of the learning rate, which a run's rates multiply: more than 1 for one whose values are meant to be larger than those
    /// of most.
    pub rate: f32,
}

impl Parameter {
    /// A parameter of one name.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, initial: Initial) -> Self {
        Self { name: name.into(), shape: shape.into(), initial, aliases: Vec::new(), bounds: None, rate: 1.0 }
    }

    /// The name, and the other names after it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name].into_iter().chain(&self.aliases).map(String::as_str)
    }

    /// First values. They depend on the seed and the name alone.
    pub fn values(&self, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Every parameter has its own stream, so that none depends on the sizes of the others.
        let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        random.set_stream(self.name.bytes().fold(0xcbf2_9ce4_8422_2325, hash));
        (0..self.shape.elements())
            .map(|_| match self.initial {
                Initial::Normal(deviation) => {
                    let value: f32 = StandardNormal.sample(&mut random);
                    deviation * value
                }
                Initial::Constant(value) => value,
                Initial::Uniform(range) => random.random_range(-range..range),
            })
            .collect()
    }

    /// This parameter's tensor among the values of a model.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is none of its name and shape.
    pub fn tensor(&self, parameters: &Parameters) -> Result<Tensor> {
        let tensor = parameters.tensor(&self.name).filter(|tensor| *tensor.shape() == self.shape);
        tensor.ok_or_else(|| Error::Shape {
            operation: "model",
            argument: "parameters",
            wanted: format!("`{}` {} among them", self.name, self.shape),
            got: "none of that name and shape".into(),
        })
    }
}

/// Parameters in their order, each that layers share once.
pub(super) fn distinct<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> Vec<Parameter> {
    let mut all: Vec<Parameter> = Vec::new();
    for one in parameters {
        if all.iter().all(|listed| listed.name != one.name) {
            all.push(one.clone());
        }
    }
    all
}

/// Tensors of zeros for some parameters.
///
/// # Errors
/// [`Error::Limit`] if one is larger than a binding may be; [`Error::OutOfMemory`] when memory runs out.
pub fn zeros(gpu: &Gpu, parameters: &[Parameter]) -> Result<Parameters> {
    Parameters::new(gpu, parameters.iter().map(|Parameter { name, shape, .. }| (name.clone(), shape.clone())))
}

/// Tensors of some parameters with first values drawn from `seed`.
///
/// # Errors
/// [`Error::Limit`] if one is larger than a binding may be; [`Error::OutOfMemory`] when memory runs out.
pub fn first_values(gpu: &Gpu, parameters: &[Parameter], seed: u64) -> Result<Parameters> {
    let tensors = zeros(gpu, parameters)?;
    parameters.iter().try_for_each(|one| gpu.write(&one.tensor(&tensors)?, &one.values(seed)))?;
    Ok(tensors)
}
