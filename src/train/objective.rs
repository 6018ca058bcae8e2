//! The objective of training: losses over the forward pass of any model.

use super::Teachers;
use crate::{
    Error, Result,
    gpu::Dtype,
    graph::{Graph, Parameters, Targets, Value},
    model::{Architecture, BatchShape, Layers, Regularisation},
    names::setting,
};

/// What a training step minimises, and by which parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Objective<'a> {
    /// The terms of the loss beside the targets', and dropout.
    pub regularisation: Regularisation,
    /// The type of activations.
    pub precision: Dtype,
    /// The parameters that are trained; without, all of them.
    pub trained: Option<&'a Parameters>,
    /// Models that have a part in what is expected, if there are any.
    pub teachers: Option<&'a Teachers>,
}

/// The graph of a training step. Its inputs are columns of [`crate::batch::Batch`], and the loss scale.
#[derive(Debug)]
pub struct TrainingGraph {
    /// Forward, loss and backward.
    pub graph: Graph,
    /// The loss, `[1]`, with the losses of guided alignment and coverage, and the model's penalty.
    pub loss: Value,
    /// The logits, `[B, T, W]`.
    pub logits: Value,
    /// The alignment weights, `[B, T, S]`, if the model has any.
    pub attention: Option<Value>,
    /// The gradient of each parameter that is trained, by name.
    pub gradients: Vec<(String, Value)>,
    /// In f16 the factor on the gradients, an input `[1]`.
    pub loss_scale: Option<Value>,
    /// Of a model with a penalty the share of it that the batch has, an input `[1]`: one over the batches of an update.
    pub share: Option<Value>,
}

impl TrainingGraph {
    /// Forward, loss and the gradients of what is trained for batches of a shape, with the model's own dropout beside that of the
    /// objective.
    ///
    /// # Errors
    /// [`crate::Error::Shape`]; [`crate::Error::Data`] where guided alignment or coverage is asked of a model that
    /// gives no weights in training, or dropout of states of one without them.
    pub fn new(network: &dyn Architecture, shape: BatchShape, objective: &Objective<'_>) -> Result<Self> {
        let Objective { regularisation, precision, trained, teachers } = *objective;
        let Regularisation { label_smoothing, guided_alignment, coverage, .. } = regularisation;
        let mut layers = Layers::training(&regularisation, precision);
        // Before the model, so that nothing of theirs but the distributions is kept beside its activations.
        let taught = teachers.map_or(Ok(None), |teachers| teachers.distributions(&mut layers, shape))?;
        let forward = network.forward(&mut layers, shape)?;
        if regularisation.dropout_state > 0.0 && !layers.masks_states() {
            let message = "needs recurrent states, and this architecture has none; leave it out";
            return Err(Error::data(setting("dropout_state"), message));
        }
        let penalty = network.penalty(&mut layers)?;
        let is_trained = |(name, _): &&(String, Value)| trained.is_none_or(|trained| trained.tensor(name).is_some());
        let (names, values): (Vec<_>, Vec<_>) = layers.used().iter().filter(is_trained).cloned().unzip();
        let mut graph = layers.graph;
        let impossible = network.answers().impossible();
        let targets = Targets { impossible, taught, ..Targets::new(forward.targets, network.limits().padding) };
        let mut loss = graph.cross_entropy(forward.logits, targets, label_smoothing)?;
        if guided_alignment > 0.0 {
            let weights = forward.attention_for("guided alignment")?;
            let wanted = graph.input("alignment", [shape.rows, shape.target, shape.source], Dtype::F32);
            let more = graph.alignment_loss(weights, wanted, guided_alignment)?;
            loss = graph.add(loss, more)?;
        }
        if coverage > 0.0 {
            let weights = forward.attention_for("the coverage loss")?;
            let more = graph.coverage_loss(weights, targets, coverage)?;
            loss = graph.add(loss, more)?;
        }
        let share = penalty.map(|_| graph.input("share", [1], Dtype::F32));
        if let (Some(penalty), Some(share)) = (penalty, share) {
            let more = graph.multiply(penalty, share)?;
            loss = graph.add(loss, more)?;
        }
        let loss_scale = (precision == Dtype::F16).then(|| graph.input("loss_scale", [1], Dtype::F32));
        let gradients = match loss_scale {
            Some(scale) => graph.gradients_from(&[(loss, scale)], &values)?,
            None => graph.gradients(loss, &values)?,
        };
        let gradients = names.into_iter().zip(gradients).collect();
        Ok(Self { graph, loss, logits: forward.logits, attention: forward.attention, gradients, loss_scale, share })
    }
}
