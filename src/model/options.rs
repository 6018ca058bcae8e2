//! Model options of a run, the same for every architecture.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Readout;
use crate::{Error, Result, names::setting};

/// Fields of a configuration that are no settings: the data or another option fixes them.
const FIXED: [&str; 7] = [
    "architecture",
    "source_vocabulary",
    "target_vocabulary",
    "vocabulary",
    "max_length",
    "source_specials",
    "specials",
];

/// The sizes that most models have, and settings of one architecture by name.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// Size of an embedded word.
    pub embedding: usize,
    /// Size of a hidden state, and of every layer without a size of its own.
    pub hidden: usize,
    /// Layers of the encoder.
    pub layers: usize,
    /// Dropout of activations in training.
    pub dropout: f32,
    /// The layer before the output.
    pub readout: Readout,
    /// Whether the output layer's weight is the table of embedded target words.
    pub tie_embeddings: bool,
    /// The longest source or target, its end token included.
    pub max_length: usize,
    /// Fields of `config.json` and their values, which have precedence.
    pub settings: BTreeMap<String, String>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            embedding: 256,
            hidden: 256,
            layers: 1,
            dropout: 0.0,
            readout: Readout::Tanh,
            tie_embeddings: false,
            max_length: 100,
            settings: BTreeMap::new(),
        }
    }
}

impl ModelOptions {
    /// A configuration with the settings in place of its own values.
    ///
    /// # Errors
    /// [`Error::Data`] that lists the settings, for one that is not known or a value that does not fit.
    pub fn apply<C: Serialize + DeserializeOwned>(&self, config: &C) -> Result<C> {
        let of_json = |error: serde_json::Error| Error::data("config.json", error.to_string());
        let fields = serde_json::to_value(config).and_then(serde_json::from_value);
        let mut fields: Map<String, Value> = fields.map_err(of_json)?;
        let known: Vec<_> = fields.keys().filter(|key| !FIXED.contains(&key.as_str())).cloned().collect();
        for (key, text) in &self.settings {
            let wrong = |what: String| {
                Error::data(
                    format!("{} {key}={text}", setting("model")),
                    format!("{what}; this architecture has {}", known.join(", ")),
                )
            };
            if !known.contains(key) {
                return Err(wrong(format!("`{key}` is no setting")));
            }
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
            fields.insert(key.clone(), value);
            // One at a time, so that the error names the setting.
            C::deserialize(Value::Object(fields.clone())).map_err(|error| wrong(error.to_string()))?;
        }
        C::deserialize(Value::Object(fields)).map_err(of_json)
    }
}
