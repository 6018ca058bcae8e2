//! Training in the page.

use softalign::{
    text::Task,
    train::{self, Data, Steps, TrainOptions},
};
use wasm_bindgen::prelude::*;

use crate::{device::Gpu, model::Model};

/// A model that learns a built-in task, a step at a time.
#[wasm_bindgen]
pub struct Training(Steps);

/// The numbers of a step.
#[wasm_bindgen]
pub struct Reading {
    /// The step, from 1.
    pub step: f64,
    /// The loss per target token.
    pub loss: f32,
    /// The global norm of the gradients before clipping.
    pub norm: f32,
}

/// A source and what is right for it.
#[wasm_bindgen(getter_with_clone)]
pub struct Pair {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
}

#[wasm_bindgen]
impl Training {
    /// A new model for the task of this name, such as `numbers`, with its usual options; `seed` decides its first values, the data
    /// and their order.
    #[wasm_bindgen(constructor)]
    pub fn new(gpu: &Gpu, task: &str, seed: u32) -> Result<Training, JsError> {
        let task: Task = task.parse()?;
        let options = TrainOptions { seed: seed.into(), ..TrainOptions::new(Data::Task(task)) };
        Ok(Self(Steps::new(&gpu.0, &options)?))
    }

    /// Submits the next step, once no more than one is under way, and gives the readings that have arrived.
    pub async fn advance(&mut self) -> Result<Vec<Reading>, JsError> {
        Ok(readings(self.0.advance().await?))
    }

    /// Waits for the steps under way, and gives the readings that are left.
    pub async fn settle(&mut self) -> Result<Vec<Reading>, JsError> {
        Ok(readings(self.0.settle().await?))
    }

    /// Target tokens of the batches so far.
    #[wasm_bindgen(getter)]
    pub fn tokens(&self) -> f64 {
        self.0.tokens() as f64
    }

    /// The model, as it is after each step.
    pub fn model(&self) -> Model {
        Model::new(self.0.model().clone())
    }

    /// A pair that no step learns from: `place` counts through them again and again.
    pub fn unseen(&self, place: usize) -> Option<Pair> {
        let pair = self.0.unseen().iter().cycle().nth(place % self.0.unseen().len().max(1))?;
        Some(Pair { source: pair.source.clone(), target: pair.target.clone() })
    }
}

fn readings(found: Vec<train::Reading>) -> Vec<Reading> {
    found
        .into_iter()
        .map(|reading| Reading { step: reading.step as f64, loss: reading.loss, norm: reading.norm })
        .collect()
}
