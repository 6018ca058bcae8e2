//! Configurations of Hugging Face's models, read as this crate's own and written from them.

use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Architecture, Counterpart, Network, Nonlinearity};
use crate::{Error, Result};

/// A kind of model of Hugging Face's that an architecture reads.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// `model_type` in its `config.json`.
    pub model_type: &'static str,
    /// Makes the network that its `config.json` describes; the second argument names the file in errors.
    pub(super) read: fn(&str, &str) -> Result<Network>,
}

impl Import {
    /// The network that the text describes.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the field that is missing or that no model here has.
    pub fn network(&self, text: &str, path: &str) -> Result<Network> {
        (self.read)(text, path)
    }

    /// The counterpart of `own` that has the settings `fields`; its names are those of the parameters, and nothing is left out.
    ///
    /// # Errors
    /// [`Error::Data`] naming the first setting of `own` that is another where `fields` are read.
    pub(super) fn counterpart(&self, own: &dyn Architecture, fields: &impl Serialize) -> Result<Counterpart> {
        let of_json = |error: serde_json::Error| Error::data(own.name(), error.to_string());
        let settings = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(of_json);
        let config = serde_json::to_string_pretty(fields).map_err(of_json)?;
        let theirs = settings(&self.network(&config, own.name())?.config()?)?;
        let differs = settings(&own.config()?)?.into_iter().find(|(name, value)| theirs.get(name) != Some(value));
        if let Some((name, value)) = differs {
            let other = theirs.get(&name).unwrap_or(&Value::Null);
            let message = format!(
                "has no counterpart among Hugging Face's models: its {name} is {value}, and {other} in the nearest, a {}",
                self.model_type
            );
            return Err(Error::data(own.name(), message));
        }
        Ok(Counterpart { config, prefix: "", is_bare: false, left_out: &[], may_lack: &[] })
    }
}

/// Fields of a configuration of theirs; those that are not asked for may be anything.
pub(super) fn fields<T: DeserializeOwned>(text: &str, path: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::data(path, format!("not a configuration of Hugging Face's: {error}")))
}

/// An error for a setting of theirs that no model here has.
pub(super) fn unknown(path: &str, setting: &str) -> Error {
    Error::data(path, format!("{setting}, which no model here has"))
}

/// Writes a nonlinearity by their name for it.
pub(super) fn activation<S: Serializer>(kind: &Nonlinearity, serializer: S) -> Result<S::Ok, S::Error> {
    match kind {
        Nonlinearity::GeluTanh => serializer.serialize_str("gelu_new"),
        other => other.serialize(serializer),
    }
}

/// The id of a special token of theirs, where there is none the one that no token has.
pub(super) fn id(stated: Option<u32>) -> u32 {
    stated.unwrap_or(u32::MAX)
}

/// A special token's id as they write it: not at all where there is none.
pub(super) fn stated(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}
