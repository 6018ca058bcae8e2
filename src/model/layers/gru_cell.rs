//! GRU cells.

use super::{Layers, LinearTensors};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    graph::{GruWeights, Parameters},
    kernels::{
        gru::Weights,
        matmul::{Activation, Matrix},
    },
    model::{Initial, Parameter},
};

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

    /// Records what inputs `x` `[rows, I]` contribute to the gates: `y` `[rows, 3H]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit the cell.
    pub fn record_input(&self, recorder: &mut Recorder, rows: usize, x: &Tensor, y: &Tensor) -> Result<()> {
        let (weight, bias) = (self.weight_ih.clone(), Some(self.bias_ih.clone()));
        let layer = LinearTensors { weight, bias, by_inputs: false };
        layer.record(recorder, rows, x, Activation::None, Matrix::rows(y))
    }
}
