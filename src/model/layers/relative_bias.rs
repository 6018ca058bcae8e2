//! Biases of attention by relative position.

use super::{HeadSizes, Layers};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::{Parameters, Value},
    kernels::relative_position_bias::{PositionBuckets, RelativePositionBias},
    model::{Initial, Parameter},
};

/// A bias for each bucket of relative positions and each head, which all layers of a stack share (Raffel et al. 2020, section 2.1).
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// `[buckets, N]`
    pub table: Parameter,
    buckets: PositionBuckets,
    heads: usize,
}

impl RelativeBias {
    /// Biases of `heads` by `buckets`, with these first values and this share of the learning rate.
    pub fn new(name: &str, buckets: PositionBuckets, heads: HeadSizes, (initial, rate): (Initial, f32)) -> Self {
        let table = Parameter::new(format!("{name}.weight"), [buckets.count, heads.count], initial);
        Self { table: Parameter { rate, ..table }, buckets, heads: heads.count }
    }

    /// The biases `[N, 2 T - 1]` of a text of T places.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, places: usize) -> Result<Value> {
        let table = layers.parameter(&self.table);
        layers.graph.relative_position_bias(table, self.buckets, [places, places])
    }

    /// The biases of texts of up to `places`, for the steps of a search.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack the table; [`crate::Error::OutOfMemory`].
    pub fn tensors(&self, gpu: &Gpu, parameters: &Parameters, places: usize) -> Result<RelativeBiasTensors> {
        let Self { buckets, heads, .. } = *self;
        let operation = RelativePositionBias { buckets, heads, queries: places, keys: places };
        Ok(RelativeBiasTensors {
            table: self.table.tensor(parameters)?,
            bias: gpu.zeros("bias", [heads, (2 * places).saturating_sub(1)], Dtype::F32)?,
            operation,
        })
    }
}

/// The tensors of a [`RelativeBias`].
#[derive(Debug)]
pub struct RelativeBiasTensors {
    table: Tensor,
    /// `[N, 2 P - 1]` for texts of up to P places, once [`RelativeBiasTensors::record_start`] has made it.
    pub bias: Tensor,
    operation: RelativePositionBias,
}

impl RelativeBiasTensors {
    /// Records the making of the biases.
    ///
    /// # Errors
    /// The errors of the kernel.
    pub fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.operation.record(recorder, &self.table, &self.bias)
    }
}
