//! The loss: [`crate::kernels::cross_entropy`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    batch::Specials,
    gpu::{Dtype, Recorder},
    kernels::cross_entropy::CrossEntropy,
};

/// Outputs: loss [1], log_sum_exp [N], the rows' losses [N].
#[derive(Debug)]
struct Forward(CrossEntropy);

/// Turns logits into their gradients in place.
#[derive(Debug)]
struct Backward(CrossEntropy);

/// The tokens that a loss compares with. A [`Value`] alone has padding of 0.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// u32, as many as there are rows.
    pub tokens: Value,
    /// The token that is padding, and ignored.
    pub padding: u32,
}

impl From<Value> for Targets {
    fn from(tokens: Value) -> Self {
        Self { tokens, padding: Specials::default().pad }
    }
}

impl Graph {
    /// Cross-entropy of `logits` `[.., V]` against `targets` (as many tokens as rows), with label smoothing over all classes (Szegedy et al. 2016, section 7), summed and scaled by the step's `loss_scale`: `[1]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn cross_entropy(&mut self, logits: Value, targets: impl Into<Targets>, smoothing: f32) -> Result<Value> {
        Ok(self.losses(logits, targets.into(), smoothing)?[0])
    }

    /// -log p of each target token under `logits` `[.., V]`, `[N]`; 0 for padding. It has no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn token_losses(&mut self, logits: Value, targets: impl Into<Targets>) -> Result<Value> {
        Ok(self.losses(logits, targets.into(), 0.0)?[2])
    }

    fn losses(&mut self, logits: Value, targets: Targets, smoothing: f32) -> Result<Vec<Value>> {
        let Targets { tokens: targets, padding } = targets;
        self.elements("cross_entropy", "logits", logits)?;
        let (rows, classes) = (self.shape(logits).rows(), self.shape(logits).last());
        if self.shape(targets).elements() != rows || self.values[targets.0].dtype != Dtype::U32 {
            return Err(Error::Shape {
                operation: "cross_entropy",
                argument: "targets",
                wanted: format!("u32, {rows} tokens"),
                got: format!("{} {}", self.values[targets.0].dtype, self.shape(targets)),
            });
        }
        let operation = Forward(CrossEntropy { rows, classes, smoothing, padding });
        let outputs = [1, rows, rows].map(|elements| ([elements].into(), Dtype::F32));
        Ok(self.push_as(operation, &[logits, targets], outputs))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [loss, log_sum_exp, row_loss] = context.outputs else { unreachable!("three outputs are pushed") };
        let (logits, targets) = (&context.inputs[0], &context.inputs[1]);
        self.0.record(recorder, logits, targets, context.step, log_sum_exp, row_loss, loss)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        if upstream[2].is_some() {
            return Err(Error::Shape {
                operation: "cross_entropy",
                argument: "token_losses",
                wanted: "nothing that is differentiated".into(),
                got: "a gradient".into(),
            });
        }
        let gradient = upstream[0]
            .map(|d_loss| graph.push_like(Backward(self.0), &[inputs[0], inputs[1], outputs[1], d_loss], inputs[0]));
        Ok(vec![gradient, None])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [_, targets, log_sum_exp, d_loss] = context.inputs else { unreachable!("four inputs are pushed") };
        self.0.record_backward(recorder, targets, log_sum_exp, context.step, d_loss, &context.outputs[0])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
