//! Two layers with a nonlinearity between them, applied to each position by itself.

use serde::{Deserialize, Serialize};

use super::{Layers, Linear, LinearTensors};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
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

/// `down(f(up(x)))` (Vaswani et al. 2017, section 3.3), or with a gate `down(f(up(x)) gate(x))` (Shazeer, "GLU Variants Improve
/// Transformer", 2020, section 2).
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// To the size between.
    pub up: Linear,
    /// To the size between, too.
    pub gate: Option<Linear>,
    /// Back.
    pub down: Linear,
    /// f.
    pub activation: Nonlinearity,
}

impl FeedForward {
    /// The parameters of `up`, of `gate`, and then those of `down`.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.up].into_iter().chain(&self.gate).chain([&self.down]).flat_map(Linear::parameters)
    }

    /// `x` `[.., D]` to `[.., D]`, with `dropout` of what `down` reads.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value, dropout: f32) -> Result<Value> {
        let between = self.up.forward(layers, x, Activation::None)?;
        let mut between = self.activation.forward(layers, between)?;
        if let Some(gate) = &self.gate {
            let open = gate.forward(layers, x, Activation::None)?;
            between = layers.graph.multiply(between, open)?;
        }
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
        let gate = self.gate.as_ref().map(|gate| gate.tensors(parameters)).transpose()?;
        Ok(FeedForwardTensors { up, gate, down, activation: self.activation })
    }
}

/// Scratch of a [`FeedForward`] in the steps of a search, which all layers share.
#[derive(Debug)]
pub struct FeedForwardRows {
    /// `[R, F]`
    linear: Tensor,
    /// `[R, F]`
    activated: Tensor,
    /// `[R, F]`, of layers that have a gate.
    gated: Option<Tensor>,
}

impl FeedForwardRows {
    /// Scratch for `rows` of layers with `size` between, `gated` or not.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, rows: usize, size: usize, gated: bool) -> Result<Self> {
        let tensor = || gpu.zeros("between", [rows, size], Dtype::F32);
        let gated = if gated { Some(tensor()?) } else { None };
        Ok(Self { linear: tensor()?, activated: tensor()?, gated })
    }
}

/// The tensors of a [`FeedForward`].
#[derive(Clone, Debug)]
pub struct FeedForwardTensors {
    up: LinearTensors,
    gate: Option<LinearTensors>,
    down: LinearTensors,
    activation: Nonlinearity,
}

impl FeedForwardTensors {
    /// Records the result for `x` `[R, D]` added to `y`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit.
    pub fn record_onto(
        &self,
        recorder: &mut Recorder,
        x: &Tensor,
        scratch: &FeedForwardRows,
        y: &Tensor,
    ) -> Result<()> {
        let (rows, FeedForwardRows { linear, activated, gated }) = (x.shape().rows(), scratch);
        self.up.record(recorder, rows, x, Activation::None, Matrix::rows(linear))?;
        self.activation.pointwise().record(recorder, linear, None, activated)?;
        let mut between = activated;
        if let (Some(gate), Some(gated)) = (&self.gate, gated) {
            gate.record(recorder, rows, x, Activation::None, Matrix::rows(linear))?;
            Pointwise::Multiply.record(recorder, activated, Some(linear), gated)?;
            between = gated;
        }
        self.down.record_onto(recorder, rows, between, y)
    }
}
