//! Softmax of rows: [`crate::kernels::softmax`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::softmax::Softmax,
};

#[derive(Debug)]
struct Forward(Softmax);

#[derive(Debug)]
struct Backward(Softmax);

impl Graph {
    /// Softmax over the last extent; with `lengths` (one per row), entries at and past a row's length count as absent and
    /// become 0.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn softmax(&mut self, x: Value, lengths: Option<Value>) -> Result<Value> {
        self.elements("softmax", "x", x)?;
        let shape = self.shape(x).clone();
        let mut inputs = vec![x];
        if let Some(lengths) = lengths {
            self.expect("softmax", "lengths", lengths, Dtype::U32, [Some(shape.rows())])?;
            inputs.push(lengths);
        }
        let softmax = Softmax { rows: shape.rows(), columns: shape.last() };
        Ok(self.push_like(Forward(softmax), &inputs, x))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], context.inputs.get(1), &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let gradient = upstream[0].map(|d_y| graph.push_like(Backward(self.0), &[outputs[0], d_y], inputs[0]));
        Ok([gradient, None].into_iter().take(inputs.len()).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.inputs[1], &context.outputs[0])
    }
}
