//! Two layers with a nonlinearity between them, applied to each position by itself.

use serde::{Deserialize, Serialize};

use super::{Layers, Linear, LinearTensors};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    graph::{Parameters, Value},
    kernels::{
        matmul::{Activation, Matrix},
        pointwise::{Gelu, Pointwise},
    },
    model::Parameter,
};

/// The nonlinearity between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// `max(x, 0)`
    Relu,
    /// `x` times the normal distribution's share below it (Hendrycks and Gimpel 2016, section 2).
    Gelu,
    /// The approximation of GELU by tanh (there, too), as GPT-2 has it.
    #[serde(alias = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `x sigmoid(x)` (Ramachandran, Zoph and Le 2017, section 4), as Marian's models have it.
    #[serde(alias = "silu")]
    Swish,
}

impl Nonlinearity {
    fn pointwise(self) -> Pointwise {
        match self {
            Self::Relu => Pointwise::Relu,
            Self::Gelu => Pointwise::Gelu(Gelu::Erf),
            Self::GeluTanh => Pointwise::Gelu(Gelu::Tanh),
            Self::Swish => Pointwise::Swish,
        }
    }

    /// The nonlinearity of each element.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(self, layers: &mut Layers, x: Value) -> Result<Value> {
        let graph = &mut layers.graph;
        match self {
            Self::Relu => graph.relu(x),
            Self::Gelu => graph.gelu(x, Gelu::Erf),
            Self::GeluTanh => graph.gelu(x, Gelu::Tanh),
            Self::Swish => graph.swish(x),
        }
    }
}

/// `down(f(up(x)))` (Vaswani et al. 2017, section 3.3).
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// To the size between.
    pub up: Linear,
    /// Back.
    pub down: Linear,
    /// f.
    pub activation: Nonlinearity,
}

impl FeedForward {
    /// The parameters of `up`, then those of `down`.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.up.parameters().chain(self.down.parameters())
    }

    /// `x` `[.., D]` to `[.., D]`, with `dropout` of what `down` reads.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, dropout: f32) -> Result<Value> {
        let between = self.up.forward(layers, x, Activation::None)?;
        let between = self.activation.forward(layers, between)?;
        let between = layers.drop(between, dropout)?;
        self.down.forward(layers, between, Activation::None)
    }
}

impl FeedForward {
    /// The layers' tensors.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layers' names and shapes.
    pub fn tensors(&self, parameters: &Parameters) -> Result<FeedForwardTensors> {
        let [up, down] = [self.up.tensors(parameters)?, self.down.tensors(parameters)?];
        Ok(FeedForwardTensors { up, down, activation: self.activation })
    }
}

/// The tensors of a [`FeedForward`].
#[derive(Clone, Debug)]
pub struct FeedForwardTensors {
    up: LinearTensors,
    down: LinearTensors,
    activation: Nonlinearity,
}

impl FeedForwardTensors {
    /// Records the result for `x` `[R, D]` added to `y`; `between` are two of scratch, each `[R, F]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit.
    pub fn record_onto(&self, recorder: &mut Recorder, x: &Tensor, between: &[Tensor; 2], y: &Tensor) -> Result<()> {
        let (rows, [linear, activated]) = (x.shape().rows(), between);
        self.up.record(recorder, rows, x, Activation::None, Matrix::rows(linear))?;
        self.activation.pointwise().record(recorder, linear, None, activated)?;
        self.down.record_onto(recorder, rows, activated, y)
    }
}
