//! Models whose distributions another one learns beside its data.

use std::path::{Path, PathBuf};

use super::{
    TrainOptions,
    student::{Student, order},
};
use crate::{
    Error, Result,
    graph::{Epilogue, Graph, Parameters, Value},
    kernels::cross_entropy::Taught,
    model::{Answers, BatchShape, Layers, Model, TokenModel},
    text::escaped,
};

/// Teachers: in each step of training they read the same batch, and the mean of their distributions over the next token is a part of
/// what is expected (Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, section 3.1).
#[derive(Clone, Debug)]
pub struct Teachers {
    models: Vec<Teacher>,
    weight: f32,
}

#[derive(Clone, Debug)]
struct Teacher {
    model: TokenModel,
    /// Its id of each class that the student knows, where these are in another order.
    order: Option<Vec<u32>>,
}

impl Teachers {
    /// Models with the vocabularies and special tokens of the one that they teach, and what they count beside the data, in `[0, 1]`.
    pub fn new(models: Vec<TokenModel>, weight: f32) -> Self {
        Self { models: models.into_iter().map(|model| Teacher { model, order: None }).collect(), weight }
    }

    /// Those of a run that trains `student` in `folder`, if it has any.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] for a folder that holds no model, or one that cannot teach this model.
    pub(super) fn load(options: &TrainOptions, student: &Model, folder: &Path) -> Result<Option<Self>> {
        let Some(told) = &options.teacher else { return Ok(None) };
        let load = |path: &PathBuf| {
            let teacher = Model::load(&student.gpu, path)?;
            if let Some(why) = (Student { model: student, options }).obstacle(&teacher, path) {
                let folder = escaped(&folder.display().to_string());
                return Err(Error::data(
                    path.display().to_string(),
                    format!("cannot teach the model of {folder}: {why}"),
                ));
            }
            let classes = student.network.answers() == Answers::Classes;
            let order = if classes { order(&student.target, &teacher.target) } else { None };
            Ok(Teacher { model: TokenModel::from(&teacher), order })
        };
        let models = told.models.iter().map(load).collect::<Result<_>>()?;
        Ok(Some(Self { models, weight: told.weight }))
    }

    /// Parameters, and those of the teachers behind them.
    pub(super) fn beside(&self, parameters: &Parameters) -> Parameters {
        let models = (0..).zip(&self.models);
        models.fold(parameters.clone(), |all, (number, one)| all.with(&prefix(number), &one.model.parameters))
    }

    /// The sum of the teachers' distributions, `[B, T, W]`, and what it counts.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub(super) fn distributions(&self, layers: &mut Layers, shape: BatchShape) -> Result<Option<(Value, Taught)>> {
        let mut sum = None;
        for (number, Teacher { model, order }) in (0..).zip(&self.models) {
            let forward = layers.of_another(&prefix(number), |layers| model.network.forward(layers, shape))?;
            let distribution = layers.graph.softmax(forward.logits, None)?;
            let distribution = match order {
                Some(order) => ordered(&mut layers.graph, distribution, order)?,
                None => distribution,
            };
            sum = Some(match sum {
                Some(sum) => layers.graph.add(sum, distribution)?,
                None => distribution,
            });
        }
        Ok(sum.map(|sum| (sum, Taught { count: self.models.len(), weight: self.weight })))
    }
}

/// A distribution `[.., W]` whose entries come from the places that `order` has for them.
fn ordered(graph: &mut Graph, distribution: Value, order: &[u32]) -> Result<Value> {
    let places = 0..order.len() as u32;
    let from = places.flat_map(|place| order.iter().map(move |from| f32::from(u8::from(place == *from))));
    let matrix = graph.constant([order.len(), order.len()], from.collect())?;
    graph.matmul(distribution, false, matrix, false, Epilogue::default())
}

/// What the parameters of a teacher are called by in the graph of a training step.
fn prefix(number: usize) -> String {
    format!("teacher {number}: ")
}
