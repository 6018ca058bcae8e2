//! Biases by relative position: [`crate::kernels::relative_position_bias`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::relative_position_bias::{PositionBuckets, RelativePositionBias},
};

#[derive(Debug)]
struct Forward(RelativePositionBias);

#[derive(Debug)]
struct Backward(RelativePositionBias);

impl Graph {
    /// The biases `[N, T + S - 1]` that a table `[buckets, N]` gives to the distances s - t of T queries and S keys, from 1 - T to
    /// S - 1 (Raffel et al. 2020, section 2.1): what [`super::MultiHeadAttention::bias`] takes. All layers of a model may share it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn relative_position_bias(
        &mut self,
        table: Value,
        buckets: PositionBuckets,
        [queries, keys]: [usize; 2],
    ) -> Result<Value> {
        let [_, heads] =
            self.expect("relative_position_bias", "table", table, Dtype::F32, [Some(buckets.count), None])?;
        let operation = RelativePositionBias { buckets, heads, queries, keys };
        let made = ([heads, (queries + keys).saturating_sub(1)].into(), Dtype::F32);
        Ok(self.push_as(Forward(operation), &[table], [made])[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "relative_position_bias"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        Ok(vec![upstream[0].map(|d_bias| graph.push_like(Backward(self.0), &[d_bias], inputs[0]))])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "relative_position_bias"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.outputs[0])
    }
}
