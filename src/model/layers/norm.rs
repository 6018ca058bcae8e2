//! Layer normalisation, and residual connections with it.

use serde::{Deserialize, Serialize};

use super::Layers;
use crate::{
    Result, Tensor,
    gpu::Recorder,
    graph::{Parameters, Value},
    kernels::layer_norm::{self as kernel, Norm},
    model::{Initial, Parameter},
};

/// Layer normalisation with a gain and a bias (Ba, Kiros and Hinton 2016, equation 4), or by the root mean square with a gain alone
/// (Zhang and Sennrich 2019, section 4).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The gain, `[D]`.
    pub weight: Parameter,
    /// `[D]`; none where rows are divided by their root mean square.
    pub bias: Option<Parameter>,
    epsilon: f32,
}

/// The place of normalisation in a residual connection around a layer f.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOrder {
    /// `x + f(norm(x))`: what passes the layer by is never normalised (Xiong et al. 2020, section 3).
    Pre,
    /// `norm(x + f(x))` (Vaswani et al. 2017, section 3.1).
    Post,
}

/// The residual connection around a layer.
#[derive(Clone, Debug)]
pub struct Residual {
    /// The normalisation before or after the layer.
    pub norm: LayerNorm,
    /// Where it stands.
    pub order: NormOrder,
}

impl LayerNorm {
    /// A normalisation over `size` features; `epsilon` is added to their variance.
    pub fn new(name: &str, size: usize, epsilon: f32) -> Self {
        let bias = Parameter::new(format!("{name}.bias"), [size], Initial::Constant(0.0));
        Self { bias: Some(bias), ..Self::rms(name, size, epsilon) }
    }

    /// One by the root mean square of `size` features; `epsilon` is added to their mean square.
    pub fn rms(name: &str, size: usize, epsilon: f32) -> Self {
        let weight = Parameter::new(format!("{name}.weight"), [size], Initial::Constant(1.0));
        Self { weight, bias: None, epsilon }
    }

    /// The gain, then the bias.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.weight].into_iter().chain(&self.bias)
    }

    /// `x` `[.., D]`, normalised.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, x: Value) -> Result<Value> {
        let gain = layers.parameter(&self.weight);
        match &self.bias {
            Some(bias) => {
                let bias = layers.parameter(bias);
                layers.graph.layer_norm(x, gain, Some(bias), self.epsilon)
            }
            None => layers.graph.rms_norm(x, gain, self.epsilon),
        }
    }
}

impl LayerNorm {
    /// The layer's tensors.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes.
    pub fn tensors(&self, parameters: &Parameters) -> Result<LayerNormTensors> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(parameters)).transpose()?;
        Ok(LayerNormTensors { weight: self.weight.tensor(parameters)?, bias, epsilon: self.epsilon })
    }
}

/// The tensors of a [`LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNormTensors {
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f32,
}

impl LayerNormTensors {
    /// Records `x` `[R, D]`, normalised, to `y`; `statistics` `[R, 2]` is scratch.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, y: &Tensor, statistics: &Tensor) -> Result<()> {
        let (rows, columns) = (x.shape().rows(), x.shape().last());
        let kind = if self.bias.is_some() { Norm::Layer } else { Norm::Rms };
        let norm = kernel::LayerNorm { rows, columns, norm: kind, epsilon: self.epsilon };
        let inputs = kernel::Inputs { x, gain: &self.weight, bias: self.bias.as_ref() };
        norm.record(recorder, &inputs, &kernel::Outputs { y, statistics })
    }
}

impl Residual {
    /// `x` `[B, T, D]` through a normalised residual connection around `layer`, whose result is dropped at a rate of `dropout` in
    /// training.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], and the errors of `layer`.
    pub fn around(
        &self,
        layers: &mut Layers,
        x: Value,
        dropout: f32,
        layer: impl FnOnce(&mut Layers, Value) -> Result<Value>,
    ) -> Result<Value> {
        let input = match self.order {
            NormOrder::Pre => self.norm.forward(layers, x)?,
            NormOrder::Post => x,
        };
        let made = layer(layers, input)?;
        let made = layers.drop(made, dropout)?;
        let sum = layers.graph.add(x, made)?;
        match self.order {
            NormOrder::Pre => Ok(sum),
            NormOrder::Post => self.norm.forward(layers, sum),
        }
    }
}
