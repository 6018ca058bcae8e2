//! The loss: [`crate::kernels::cross_entropy`] as nodes.

use std::sync::Arc;

use super::{
    Context, Graph, InPlace, Operation, Source, Value,
    operands::{missing, operands},
};
use crate::{
    Error, Result,
    batch::Specials,
    gpu::{Dtype, Recorder},
    kernels::cross_entropy::{self, CrossEntropy, Inputs, Outputs, Taught},
};

operands! { ForwardInputs { logits, targets } }
operands! { ForwardOutputs { loss, log_sum_exp, row_loss } }
operands! { BackwardInputs { logits, targets, log_sum_exp, d_loss } }

#[derive(Debug)]
struct Forward(CrossEntropy);

/// The same with the gradient of the logits in their place, for a gradient of the loss that no node makes, the last input; that of the
/// logits is the last output.
#[derive(Debug)]
struct Both(CrossEntropy);

/// Turns logits into their gradients in place.
#[derive(Debug)]
struct Backward(CrossEntropy);

/// The tokens that a loss compares with, and what teachers expect. A [`Value`] alone has padding of 0, all classes and no teachers.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// u32, as many as there are rows.
    pub tokens: Value,
    /// The token that is padding, and ignored.
    pub padding: u32,
    /// The number of tokens, before all others, that are none of them: special ones, which label smoothing passes over.
    pub impossible: usize,
    /// The sum of the distributions of teachers, `[.., V]`, of the type of the logits, and what they count. It has no gradient.
    pub taught: Option<(Value, Taught)>,
}

impl Targets {
    /// Tokens without teachers, of which each may be one.
    pub fn new(tokens: Value, padding: u32) -> Self {
        Self { tokens, padding, impossible: 0, taught: None }
    }
}

impl From<Value> for Targets {
    fn from(tokens: Value) -> Self {
        Self::new(tokens, Specials::default().pad)
    }
}

impl Graph {
    /// Cross-entropy of `logits` `[.., V]` against `targets` (as many tokens as rows), with label smoothing over all classes but the
    /// impossible ones (Szegedy et al. 2016, section 7), summed and scaled by the step's `loss_scale`: `[1]`. Teachers have their part
    /// of it (Kim and Rush 2016, section 3.1).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn cross_entropy(&mut self, logits: Value, targets: impl Into<Targets>, smoothing: f32) -> Result<Value> {
        Ok(self.losses(logits, targets.into(), smoothing)?.loss)
    }

    /// -log p of each target token under `logits` `[.., V]`, `[N]`; 0 for padding. It has no gradient, and no teachers.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn token_losses(&mut self, logits: Value, targets: impl Into<Targets>) -> Result<Value> {
        Ok(self.losses(logits, Targets { taught: None, ..targets.into() }, 0.0)?.row_loss)
    }

    fn losses(&mut self, logits: Value, targets: Targets, smoothing: f32) -> Result<ForwardOutputs<Value>> {
        let Targets { tokens: targets, padding, impossible, taught } = targets;
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
        let mut inputs = ForwardInputs { logits, targets }.list();
        if let Some((taught, _)) = taught {
            if self.like(taught) != self.like(logits) {
                return Err(Error::Shape {
                    operation: "cross_entropy",
                    argument: "taught",
                    wanted: format!("{} {}", self.dtype(logits), self.shape(logits)),
                    got: format!("{} {}", self.dtype(taught), self.shape(taught)),
                });
            }
            inputs.push(taught);
        }
        let taught = taught.map(|(_, taught)| taught);
        let operation = Forward(CrossEntropy { rows, classes, smoothing, impossible, padding, taught });
        let outputs = [1, rows, rows].map(|elements| ([elements].into(), Dtype::F32));
        let made = self.push_as(operation, &inputs, outputs);
        Ok(ForwardOutputs::of(&made)?.map(|value| *value))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (ForwardInputs { logits, targets }, taught) = ForwardInputs::first_of(context.inputs)?;
        let ForwardOutputs { loss, log_sum_exp, row_loss } = ForwardOutputs::of(context.outputs)?;
        let inputs = Inputs { logits, targets, taught: taught.first(), step: context.step };
        self.0.record(recorder, &inputs, &Outputs { log_sum_exp, row_loss, loss })
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
        let (ForwardInputs { logits, targets }, taught) = ForwardInputs::first_of(inputs)?;
        let ForwardOutputs { loss, log_sum_exp, .. } = ForwardOutputs::of(outputs)?;
        let gradient = upstream[0].map(|d_loss| {
            graph.in_node_of_loss(self.0, [*loss, *logits, d_loss]).unwrap_or_else(|| {
                let inputs = BackwardInputs { logits: *logits, targets: *targets, log_sum_exp: *log_sum_exp, d_loss };
                graph.push_like(Backward(self.0), &[&inputs.list(), taught].concat(), *logits)
            })
        });
        Ok([gradient, None, None].into_iter().take(inputs.len()).collect())
    }
}

impl Graph {
    /// Lets the node of a loss make the gradient of its logits too, if it does not yet and that of the loss is there before it.
    fn in_node_of_loss(&mut self, operation: CrossEntropy, [loss, logits, d_loss]: [Value; 3]) -> Option<Value> {
        let place = self.nodes.iter().position(|node| node.outputs.first() == Some(&loss))?;
        if self.values[d_loss.0].source == Source::Node
            || self.nodes[place].outputs.len() > ForwardOutputs::<Value>::COUNT
        {
            return None;
        }
        let gradient = self.another(logits);
        let node = &mut self.nodes[place];
        node.operation = Arc::new(Both(operation));
        node.inputs.push(d_loss);
        node.outputs.push(gradient);
        Some(gradient)
    }
}

impl Operation for Both {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (ForwardInputs { targets, .. }, rest) = ForwardInputs::first_of(context.inputs)?;
        let (d_loss, taught) = rest.split_last().ok_or_else(|| missing(&["d_loss"], 0))?;
        let (ForwardOutputs { loss, log_sum_exp, row_loss }, rest) = ForwardOutputs::first_of(context.outputs)?;
        let logits = rest.first().ok_or_else(|| missing(&["d_logits"], 0))?;
        let inputs = Inputs { logits, targets, taught: taught.first(), step: context.step };
        self.0.record_both(recorder, &inputs, &Outputs { log_sum_exp, row_loss, loss }, d_loss)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let (_, inputs) = inputs.split_last().ok_or_else(|| missing(&["d_loss"], 0))?;
        if upstream.get(ForwardOutputs::<Value>::COUNT).is_some_and(Option::is_some) {
            return Err(Error::Shape {
                operation: "cross_entropy",
                argument: "gradient",
                wanted: "an operation that can be differentiated".into(),
                got: "the gradient of the logits, which has no derivative here".into(),
            });
        }
        Forward(self.0).gradient(graph, inputs, &outputs[..ForwardOutputs::<Value>::COUNT], upstream)
    }

    fn in_place(&self) -> Option<InPlace> {
        Some(InPlace { output: ForwardOutputs::<Value>::COUNT, ..InPlace::over(0) })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (BackwardInputs { targets, log_sum_exp, d_loss, .. }, taught) = BackwardInputs::first_of(context.inputs)?;
        let (taught, step) = (taught.first(), context.step);
        let backward = cross_entropy::Backward { targets, taught, log_sum_exp, step, d_loss };
        self.0.record_backward(recorder, &backward, &context.outputs[0])
    }

    fn in_place(&self) -> Option<InPlace> {
        Some(InPlace::over(0))
    }
}
