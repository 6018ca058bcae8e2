//! A model from the files of its folder, and its answers.

use js_sys::{Array, Object, Uint8Array};
use softalign::{
    generate::{Generator, SearchOptions},
    model::{self, ModelFiles},
};
use wasm_bindgen::prelude::*;

use crate::device::Gpu;

/// A model with its tokenizers, on a device.
#[wasm_bindgen]
pub struct Model {
    model: model::Model,
    generator: Generator,
}

/// What a model has written for a source.
#[wasm_bindgen(getter_with_clone)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The sum of its tokens' log-probabilities.
    pub score: f32,
    /// The tokens of the source, as an alignment shows them.
    pub source: Vec<String>,
    /// The tokens of the text with its end, likewise.
    pub target: Vec<String>,
    /// The alignment weights, `[target, source]` row by row; empty for a model without attention to its source.
    pub attention: Vec<f32>,
}

impl Model {
    pub(crate) fn new(model: model::Model) -> Self {
        Self { generator: Generator::new(&model), model }
    }
}

#[wasm_bindgen]
impl Model {
    /// The names of the files that a model folder may hold; one of a model that reads no source has no `source.tokenizer.json`.
    #[wasm_bindgen(js_name = fileNames)]
    pub fn file_names() -> Vec<String> {
        model::Model::FILES.map(str::to_owned).to_vec()
    }

    /// Loads the files of a model folder: an object with a `Uint8Array` for each name.
    pub fn load(gpu: &Gpu, files: &Object) -> Result<Model, JsError> {
        let mut bytes = ModelFiles::new();
        for entry in Object::entries(files) {
            let entry = Array::from(&entry);
            let (name, content) = (entry.get(0), entry.get(1));
            let name = name.as_string().unwrap_or_default();
            let content = content
                .dyn_into::<Uint8Array>()
                .map_err(|_| JsError::new(&format!("the file `{name}` is no Uint8Array")))?;
            bytes.insert(name, content.to_vec());
        }
        Ok(Self::new(model::Model::load_files(&gpu.0, &bytes)?))
    }

    /// What the model is: its architecture and how many numbers it has learnt.
    #[wasm_bindgen(getter)]
    pub fn description(&self) -> String {
        format!("{}, {} parameters", self.model.network.name(), self.model.parameters.elements())
    }

    /// The text that a search with a beam of this width, 1 to 64, finds for a source, and what it attended to.
    pub async fn generate(&mut self, source: String, beam: usize) -> Result<Answer, JsError> {
        let Self { model, generator } = self;
        let prompt = model.prompt(&source)?;
        let (read, options) = (prompt.source.clone(), SearchOptions::beam(beam));
        let found = generator.generate_behind_async(&[prompt.source], &[prompt.prefix], &options).await?;
        let best = found.into_iter().flatten().next().unwrap_or_default();
        let attends = generator.attends() && !read.is_empty();
        let attention = if attends { generator.alignment_async(&read, &best.tokens).await? } else { Vec::new() };
        let text = model.text(&source, &best.tokens)?;
        let [source, target] = model.names(&read, &best.tokens);
        Ok(Answer { text, score: best.score, source, target, attention })
    }
}
