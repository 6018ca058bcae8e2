//! Layers: each declares the names, shapes and first values of its parameters once. Names and layouts are those of PyTorch's
//! modules, so that `load_state_dict` takes them, and first values are drawn as PyTorch draws them.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::Regularisation;
use crate::{
    Error, Gpu, Result, Tensor,
    gpu::{Dtype, Recorder, Shape},
    graph::{Epilogue, Graph, GruWeights, Parameters, Value},
    kernels::{
        gru::Weights,
        matmul::{Activation, Matmul, Matrix, Tile},
    },
};

/// What first values are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// The standard normal distribution.
    Normal,
    /// Evenly from within this distance of 0.
    Uniform(f32),
}

impl Initial {
    /// Evenly within one over the root of a layer's input size.
    pub fn of_inputs(inputs: usize) -> Self {
        Self::Uniform(1.0 / (inputs as f32).sqrt())
    }
}

/// A trainable tensor, as its layer declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name in files.
    pub name: String,
    /// The extents.
    pub shape: Shape,
    /// What first values are drawn from.
    pub initial: Initial,
    /// A second name that files may have for it: PyTorch's `state_dict` lists a tensor that two layers share under both.
    pub alias: Option<String>,
}

impl Parameter {
    /// A parameter without a second name.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, initial: Initial) -> Self {
        Self { name: name.into(), shape: shape.into(), initial, alias: None }
    }

    /// First values. They depend on the seed and the name alone.
    pub fn values(&self, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Every parameter has its own stream, so that none depends on the sizes of the others.
        let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        random.set_stream(self.name.bytes().fold(0xcbf2_9ce4_8422_2325, hash));
        (0..self.shape.elements())
            .map(|_| match self.initial {
                Initial::Normal => StandardNormal.sample(&mut random),
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

/// Tensors of zeros for some parameters.
///
/// # Errors
/// As [`Parameters::new`].
pub fn zeros(gpu: &Gpu, parameters: &[Parameter]) -> Result<Parameters> {
    Parameters::new(gpu, parameters.iter().map(|Parameter { name, shape, .. }| (name.clone(), shape.clone())))
}

/// Tensors of some parameters with first values drawn from `seed`.
///
/// # Errors
/// As [`zeros`] and [`Gpu::write`].
pub fn first_values(gpu: &Gpu, parameters: &[Parameter], seed: u64) -> Result<Parameters> {
    let tensors = zeros(gpu, parameters)?;
    parameters.iter().try_for_each(|one| gpu.write(&one.tensor(&tensors)?, &one.values(seed)))?;
    Ok(tensors)
}

/// A graph under construction: the parameters in it by name, and the dropout of a training step.
#[derive(Debug, Default)]
pub struct Layers {
    /// The nodes so far.
    pub graph: Graph,
    training: Option<Regularisation>,
    used: Vec<(String, Value)>,
}

impl Layers {
    /// An empty graph without dropout, in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph of a training step, with activations of `precision`.
    pub fn training(regularisation: &Regularisation, precision: Dtype) -> Self {
        Self { graph: Graph::with_precision(precision), training: Some(*regularisation), used: Vec::new() }
    }

    /// The parameters used so far, in the order of their first use.
    pub fn used(&self) -> &[(String, Value)] {
        &self.used
    }

    /// The one value of a parameter, however many layers share it.
    pub fn parameter(&mut self, parameter: &Parameter) -> Value {
        if let Some((_, value)) = self.used.iter().find(|(used, _)| *used == parameter.name) {
            return *value;
        }
        let value = self.graph.parameter(parameter.name.clone(), parameter.shape.clone());
        self.used.push((parameter.name.clone(), value));
        value
    }

    /// Whether words come through as they are under dropout of this rate.
    pub fn keeps_words(&self, rate: f32) -> bool {
        self.training.is_none_or(|training| rate == 0.0 && training.dropout_words == 0.0)
    }

    /// Dropout of activations `[B, T, E]` in training.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn drop(&mut self, x: Value, rate: f32) -> Result<Value> {
        match self.training {
            None => Ok(x),
            Some(Regularisation { variational: true, .. }) => self.graph.variational_dropout(x, rate),
            Some(_) => self.graph.dropout(x, rate),
        }
    }

    /// Dropout of embedded words `[B, T, E]` in training: of whole words, then of their elements.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn drop_words(&mut self, words: Value, rate: f32) -> Result<Value> {
        let whole = self.training.map_or(0.0, |training| training.dropout_words);
        let words = self.graph.row_dropout(words, whole)?;
        self.drop(words, rate)
    }

    /// The mask on the states of a recurrent layer, if training has one.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn state_mask<const N: usize>(&mut self, shape: [usize; N]) -> Result<Option<Value>> {
        match self.training {
            Some(Regularisation { dropout_state: rate, .. }) if rate != 0.0 => {
                let ones = self.graph.filled(shape, 1.0);
                self.graph.dropout(ones, rate).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A layer `x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Parameter,
    /// `[outputs]`
    pub bias: Option<Parameter>,
}

impl Linear {
    /// A layer with a bias.
    pub fn new(name: &str, inputs: usize, outputs: usize) -> Self {
        let bias = Parameter::new(format!("{name}.bias"), [outputs], Initial::of_inputs(inputs));
        Self { bias: Some(bias), ..Self::without_bias(name, inputs, outputs) }
    }

    /// A layer `x W^T`.
    pub fn without_bias(name: &str, inputs: usize, outputs: usize) -> Self {
        let weight = Parameter::new(format!("{name}.weight"), [outputs, inputs], Initial::of_inputs(inputs));
        Self { weight, bias: None }
    }

    /// The weight, then the bias.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.weight].into_iter().chain(&self.bias)
    }

    /// `x` `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, activation: Activation) -> Result<Value> {
        let weight = layers.parameter(&self.weight);
        let bias = self.bias.as_ref().map(|bias| layers.parameter(bias));
        layers.graph.linear(x, weight, Epilogue { bias, activation })
    }

    /// The layer's tensors.
    ///
    /// # Errors
    /// As [`Parameter::tensor`].
    pub fn tensors(&self, parameters: &Parameters) -> Result<LinearTensors> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(parameters)).transpose()?;
        Ok(LinearTensors { weight: self.weight.tensor(parameters)?, bias })
    }
}

/// The tensors of a [`Linear`] layer.
#[derive(Clone, Debug)]
pub struct LinearTensors {
    /// `[outputs, inputs]`
    pub weight: Tensor,
    /// `[outputs]`
    pub bias: Option<Tensor>,
}

impl LinearTensors {
    /// Records the layer for `x` `[rows, inputs]` of a search.
    ///
    /// # Errors
    /// As [`Matmul::record`].
    pub fn record(
        &self,
        recorder: &mut Recorder,
        rows: usize,
        x: &Tensor,
        activation: Activation,
        y: Matrix<'_>,
    ) -> Result<()> {
        let (n, k) = (self.weight.shape().rows(), x.shape().last());
        let product = Matmul { m: rows, n, k, batch: 1, transpose_b: true, activation, ..Matmul::default() };
        let tile = Tile::choose(recorder.gpu(), rows);
        let [x, weight] = [x, &self.weight].map(Matrix::rows);
        product.record(recorder, tile, x, weight, self.bias.as_ref(), y)
    }
}

/// A table of embedded words.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[V, E]`
    pub weight: Parameter,
}

impl Embedding {
    /// A table for `vocabulary` words.
    pub fn new(name: &str, vocabulary: usize, size: usize) -> Self {
        Self { weight: Parameter::new(format!("{name}.weight"), [vocabulary, size], Initial::Normal) }
    }

    /// A table that is an output layer's weight too, under the name `output` there (Press and Wolf 2017, section 3): drawn as
    /// such, for a normal one would give logits in the tens.
    pub fn tied(name: &str, vocabulary: usize, size: usize, output: &str) -> Self {
        let Self { weight } = Self::new(name, vocabulary, size);
        let alias = Some(format!("{output}.weight"));
        Self { weight: Parameter { initial: Initial::of_inputs(size), alias, ..weight } }
    }
}

/// A GRU cell, gates in the order r, z, n of PyTorch's.
#[derive(Clone, Debug)]
pub struct GruCell {
    /// `[3H, I]`
    pub weight_ih: Parameter,
    /// `[3H, H]`
    pub weight_hh: Parameter,
    /// `[3H]`
    pub bias_ih: Parameter,
    /// `[3H]`
    pub bias_hh: Parameter,
}

impl GruCell {
    /// A cell whose parameters' names end in `suffix`.
    pub fn new(name: &str, suffix: &str, input: usize, hidden: usize) -> Self {
        let parameter = |part: &str, shape: &[usize]| {
            Parameter::new(format!("{name}.{part}{suffix}"), shape, Initial::of_inputs(hidden))
        };
        Self {
            weight_ih: parameter("weight_ih", &[3 * hidden, input]),
            weight_hh: parameter("weight_hh", &[3 * hidden, hidden]),
            bias_ih: parameter("bias_ih", &[3 * hidden]),
            bias_hh: parameter("bias_hh", &[3 * hidden]),
        }
    }

    /// Weights, then biases.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh].into_iter()
    }

    /// The cell in a graph.
    pub fn values(&self, layers: &mut Layers) -> GruWeights {
        GruWeights {
            weight_ih: layers.parameter(&self.weight_ih),
            weight_hh: layers.parameter(&self.weight_hh),
            bias_ih: layers.parameter(&self.bias_ih),
            bias_hh: layers.parameter(&self.bias_hh),
        }
    }

    /// The cell's tensors.
    ///
    /// # Errors
    /// As [`Parameter::tensor`].
    pub fn tensors(&self, parameters: &Parameters) -> Result<GruTensors> {
        Ok(GruTensors {
            weight_ih: self.weight_ih.tensor(parameters)?,
            weight_hh: self.weight_hh.tensor(parameters)?,
            bias_ih: self.bias_ih.tensor(parameters)?,
            bias_hh: self.bias_hh.tensor(parameters)?,
        })
    }
}

/// The tensors of a [`GruCell`].
#[derive(Clone, Debug)]
pub struct GruTensors {
    /// `[3H, I]`
    pub weight_ih: Tensor,
    /// `[3H, H]`
    pub weight_hh: Tensor,
    /// `[3H]`
    pub bias_ih: Tensor,
    /// `[3H]`
    pub bias_hh: Tensor,
}

impl GruTensors {
    /// As the kernels take them.
    pub fn weights(&self) -> Weights<'_> {
        let Self { weight_ih, weight_hh, bias_ih, bias_hh } = self;
        Weights { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}
