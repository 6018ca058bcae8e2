//! Guided alignment: [`crate::kernels::alignment_loss`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::alignment_loss::AlignmentLoss,
};

/// Inputs: weights, expected. Outputs: loss [1], scratch.
#[derive(Debug)]
struct Forward(AlignmentLoss);

/// Inputs: weights, expected, d_loss.
#[derive(Debug)]
struct Backward(AlignmentLoss);

impl Graph {
    /// `weight` times the cross-entropy of the attention's `weights` `[B, T, S]` against an `expected` alignment of the same
    /// shape, whose rows add up to 1 or are 0 (Chen et al. 2016), scaled by the step's `alignment_scale`: `[1]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn alignment_loss(&mut self, weights: Value, expected: Value, weight: f32) -> Result<Value> {
        let extents = self.expect("alignment_loss", "weights", weights, Dtype::F32, [None; 3])?;
        self.expect("alignment_loss", "expected", expected, Dtype::F32, extents.map(Some))?;
        let operation = AlignmentLoss { elements: extents.iter().product(), weight };
        let made = [[1].into(), [operation.scratch()].into()].map(|shape| (shape, Dtype::F32));
        Ok(self.push_as(Forward(operation), &[weights, expected], made)[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "alignment_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [weights, expected] = context.inputs else { unreachable!("two inputs are pushed") };
        let [loss, scratch] = context.outputs else { unreachable!("two outputs are pushed") };
        self.0.record(recorder, [weights, expected], context.step, scratch, loss)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let [weights, other] = [inputs[0], inputs[1]];
        let gradient = upstream[0].map(|d_loss| graph.push_like(Backward(self.0), &[weights, other, d_loss], weights));
        Ok(vec![gradient, None])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "alignment_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [weights, expected, d_loss] = context.inputs else { unreachable!("three inputs are pushed") };
        self.0.record_backward(recorder, [weights, expected], context.step, d_loss, &context.outputs[0])
    }
}
