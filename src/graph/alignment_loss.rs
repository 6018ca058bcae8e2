//! Guided alignment: [`crate::kernels::alignment_loss`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Result,
    gpu::{Dtype, Recorder, product},
    kernels::alignment_loss::AlignmentLoss,
};

operands! { ForwardInputs { weights, expected } }
operands! { ForwardOutputs { loss, scratch } }
operands! { BackwardInputs { weights, expected, d_loss } }

#[derive(Debug)]
struct Forward(AlignmentLoss);

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
        let operation = AlignmentLoss { elements: product(&extents), weight };
        let made = [[1].into(), [operation.scratch()].into()].map(|shape| (shape, Dtype::F32));
        Ok(self.push_as(Forward(operation), &ForwardInputs { weights, expected }.list(), made)[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "alignment_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let ForwardInputs { weights, expected } = ForwardInputs::of(context.inputs)?;
        let ForwardOutputs { loss, scratch } = ForwardOutputs::of(context.outputs)?;
        self.0.record(recorder, [weights, expected], context.step, scratch, loss)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let ForwardInputs { weights, expected } = ForwardInputs::of(inputs)?;
        let gradient = upstream[0].map(|d_loss| {
            let inputs = BackwardInputs { weights: *weights, expected: *expected, d_loss };
            graph.push_like(Backward(self.0), &inputs.list(), *weights)
        });
        Ok(vec![gradient, None])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "alignment_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardInputs { weights, expected, d_loss } = BackwardInputs::of(context.inputs)?;
        self.0.record_backward(recorder, [weights, expected], context.step, d_loss, &context.outputs[0])
    }
}
