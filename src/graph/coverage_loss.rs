//! The coverage loss: [`crate::kernels::coverage_loss`] as nodes.

use super::{Context, Graph, Operation, Targets, Value, operands::operands};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::coverage_loss::{CoverageLoss, Inputs},
};

operands! { ForwardInputs { weights, targets } }
operands! { ForwardOutputs { loss, scratch } }
operands! { BackwardInputs { weights, targets, d_loss } }

#[derive(Debug)]
struct Forward(CoverageLoss);

#[derive(Debug)]
struct Backward(CoverageLoss);

impl Graph {
    /// `weight` times the coverage loss of the attention's `weights` `[B, T, S]` (See et al. 2017, section 2.3) over the steps
    /// whose `targets` `[B, T]` are not padding, scaled by the step's `loss_scale`: `[1]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn coverage_loss(&mut self, weights: Value, targets: impl Into<Targets>, weight: f32) -> Result<Value> {
        let Targets { tokens: targets, padding, .. } = targets.into();
        let [batch, steps, keys] = self.expect("coverage_loss", "weights", weights, Dtype::F32, [None; 3])?;
        self.expect("coverage_loss", "targets", targets, Dtype::U32, [Some(batch), Some(steps)])?;
        let operation = CoverageLoss { batch, steps, keys, weight, padding };
        let made = [[1].into(), [operation.scratch()].into()].map(|shape| (shape, Dtype::F32));
        Ok(self.push_as(Forward(operation), &ForwardInputs { weights, targets }.list(), made)[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "coverage_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let ForwardInputs { weights, targets } = ForwardInputs::of(context.inputs)?;
        let ForwardOutputs { loss, scratch } = ForwardOutputs::of(context.outputs)?;
        self.0.record(recorder, &Inputs { weights, targets, step: context.step }, scratch, loss)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let ForwardInputs { weights, targets } = ForwardInputs::of(inputs)?;
        let gradient = upstream[0].map(|d_loss| {
            let inputs = BackwardInputs { weights: *weights, targets: *targets, d_loss };
            graph.push_like(Backward(self.0), &inputs.list(), *weights)
        });
        Ok(vec![gradient, None])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "coverage_loss"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardInputs { weights, targets, d_loss } = BackwardInputs::of(context.inputs)?;
        let inputs = Inputs { weights, targets, step: context.step };
        self.0.record_backward(recorder, &inputs, d_loss, &context.outputs[0])
    }
}
