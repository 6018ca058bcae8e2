//! Layers `x W^T + b`.

use super::Layers;
use crate::{
    Result, Tensor,
    gpu::Recorder,
    graph::{Epilogue, Parameters, Value},
    kernels::matmul::{Activation, Matmul, Matrix, Operands, Tile},
    model::{Initial, Parameter},
};

/// A layer `x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[outputs, inputs]`; of a [`Linear::by_inputs`] its transpose.
    pub weight: Parameter,
    /// b, `[outputs]`
    pub bias: Option<Parameter>,
    by_inputs: bool,
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
        Self { weight, bias: None, by_inputs: false }
    }

    /// A layer with a bias whose weight lies as `[inputs, outputs]`, as in GPT-2's files.
    pub fn by_inputs(name: &str, inputs: usize, outputs: usize) -> Self {
        let mut layer = Self::new(name, inputs, outputs);
        layer.weight.shape = [inputs, outputs].into();
        Self { by_inputs: true, ..layer }
    }

    /// The same layer with other first values for its weight, and a bias that starts at 0.
    pub fn drawn(mut self, weight: Initial) -> Self {
        self.weight.initial = weight;
        self.bias.iter_mut().for_each(|bias| bias.initial = Initial::Constant(0.0));
        self
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
        layers.graph.matmul(x, false, weight, !self.by_inputs, Epilogue { bias, activation })
    }

    /// The layer's tensors.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes.
    pub fn tensors(&self, parameters: &Parameters) -> Result<LinearTensors> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(parameters)).transpose()?;
        Ok(LinearTensors { weight: self.weight.tensor(parameters)?, bias, by_inputs: self.by_inputs })
    }
}

/// The tensors of a [`Linear`] layer.
#[derive(Clone, Debug)]
pub struct LinearTensors {
    /// `[outputs, inputs]`; of a [`Linear::by_inputs`] its transpose.
    pub weight: Tensor,
    /// `[outputs]`
    pub bias: Option<Tensor>,
    pub(super) by_inputs: bool,
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
        self.record_rows(recorder, [rows, x.shape().last()], Matrix::rows(x), activation, y)
    }

    /// The same for rows inside a tensor; `extents` are their number and the inputs.
    ///
    /// # Errors
    /// As [`LinearTensors::record`].
    pub fn record_rows(
        &self,
        recorder: &mut Recorder,
        extents: [usize; 2],
        x: Matrix<'_>,
        activation: Activation,
        y: Matrix<'_>,
    ) -> Result<()> {
        let (shape, [m, k]) = (self.weight.shape(), extents);
        let n = if self.by_inputs { shape.last() } else { shape.rows() };
        let product = Matmul { m, n, k, batch: 1, transpose_b: !self.by_inputs, activation, ..Matmul::default() };
        self.record_product(recorder, product, x, y)
    }

    /// Records the layer's result for `x` `[rows, inputs]` added to `y` `[rows, outputs]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit the layer ([`Matmul::record`]).
    pub fn record_onto(&self, recorder: &mut Recorder, rows: usize, x: &Tensor, y: &Tensor) -> Result<()> {
        let (n, k) = (y.shape().last(), x.shape().last());
        let transpose_b = !self.by_inputs;
        let product = Matmul { m: rows, n, k, batch: 1, transpose_b, accumulate: true, ..Matmul::default() };
        self.record_product(recorder, product, Matrix::rows(x), Matrix::rows(y))
    }

    fn record_product(&self, recorder: &mut Recorder, product: Matmul, x: Matrix<'_>, y: Matrix<'_>) -> Result<()> {
        let (tile, weight) = (Tile::choose(recorder.gpu(), product.m), Matrix::rows(&self.weight));
        product.record(recorder, tile, &Operands { a: x, b: weight, bias: self.bias.as_ref(), c: y })
    }
}
