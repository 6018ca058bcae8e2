//! Models whose distributions another one learns beside its data.

use crate::{
    Result,
    graph::{Parameters, Value},
    kernels::cross_entropy::Taught,
    model::{BatchShape, Layers, TokenModel},
};

/// Teachers: in each step of training they read the same batch, and the mean of their distributions over the next token is a part of
/// what is expected (Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, section 3.1).
#[derive(Clone, Debug)]
pub struct Teachers {
    models: Vec<TokenModel>,
    weight: f32,
}

impl Teachers {
    /// Models with the vocabularies and special tokens of the one that they teach, and what they count beside the data, in `[0, 1]`.
    pub fn new(models: Vec<TokenModel>, weight: f32) -> Self {
        Self { models, weight }
    }

    /// Parameters, and those of the teachers behind them.
    pub(super) fn beside(&self, parameters: &Parameters) -> Parameters {
        let models = (0..).zip(&self.models);
        models.fold(parameters.clone(), |all, (number, model)| all.with(&prefix(number), &model.parameters))
    }

    /// The sum of the teachers' distributions, `[B, T, W]`, and what it counts.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub(super) fn distributions(&self, layers: &mut Layers, shape: BatchShape) -> Result<Option<(Value, Taught)>> {
        let mut sum = None;
        for (number, model) in (0..).zip(&self.models) {
            let forward = layers.of_another(&prefix(number), |layers| model.network.forward(layers, shape))?;
            let distribution = layers.graph.softmax(forward.logits, None)?;
            sum = Some(match sum {
                Some(sum) => layers.graph.add(sum, distribution)?,
                None => distribution,
            });
        }
        Ok(sum.map(|sum| (sum, Taught { count: self.models.len(), weight: self.weight })))
    }
}

/// What the parameters of a teacher are called by in the graph of a training step.
fn prefix(number: usize) -> String {
    format!("teacher {number}: ")
}
