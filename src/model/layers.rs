//! Layers: each declares the names, shapes and first values of its parameters once, and is what graphs and searches find them by.

use super::{Initial, Parameter, Regularisation};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::{Epilogue, Graph, GruWeights, Parameters, Value},
    kernels::{
        gru::Weights,
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
    },
};

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

    /// Whether dropout of this rate leaves embedded words unchanged.
    pub fn keeps_words(&self, rate: f32) -> bool {
        self.training.is_none_or(|training| rate == 0.0 && training.dropout_words == 0.0)
    }

    /// Dropout of activations `[B, T, E]` in training.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
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
    /// [`crate::Error::Shape`].
    pub fn drop_words(&mut self, words: Value, rate: f32) -> Result<Value> {
        let whole = self.training.map_or(0.0, |training| training.dropout_words);
        let words = self.graph.row_dropout(words, whole)?;
        self.drop(words, rate)
    }

    /// The mask on the states of a recurrent layer, if training has one.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
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
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, activation: Activation) -> Result<Value> {
        let weight = layers.parameter(&self.weight);
        let bias = self.bias.as_ref().map(|bias| layers.parameter(bias));
        layers.graph.linear(x, weight, Epilogue { bias, activation })
    }

    /// The layer's tensors.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes.
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
    /// [`crate::Error::Shape`] for tensors that do not fit the layer ([`Matmul::record`]).
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
        product.record(recorder, tile, &Operands { a: x, b: weight, bias: self.bias.as_ref(), c: y })
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
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes.
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
    /// The weights as an argument of the GRU kernels.
    pub fn weights(&self) -> Weights<'_> {
        let Self { weight_ih, weight_hh, bias_ih, bias_hh } = self;
        Weights { weight_ih, weight_hh, bias_ih, bias_hh }
    }
}
