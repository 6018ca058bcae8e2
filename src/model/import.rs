//! Configurations of Hugging Face's models, read as this crate's own.

use serde::de::DeserializeOwned;

use super::Network;
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
