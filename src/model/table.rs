//! The table of architectures.

use serde::Deserialize;

use super::{Kind, ModelOptions, Network, bahdanau, luong, settings};
use crate::{Error, Result};

/// Every architecture.
pub const ARCHITECTURES: &[Kind] = &[bahdanau::KIND, luong::KIND];

/// The field that every `config.json` has.
#[derive(Deserialize)]
struct Named {
    architecture: String,
}

impl Kind {
    /// The default architecture.
    pub const DEFAULT: Self = bahdanau::KIND;

    /// The architecture of a name.
    ///
    /// # Errors
    /// [`Error::Data`] that lists the names there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = ARCHITECTURES.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| Error::data("`architecture`", format!("`{name}` is not known here; {} is", known())))
    }

    /// A model of this architecture for a source and a target vocabulary of these sizes.
    ///
    /// # Errors
    /// [`Error::Data`] for sizes or settings that make no model.
    pub fn make(&self, options: &ModelOptions, vocabularies: [usize; 2]) -> Result<Network> {
        (self.make)(options, vocabularies)
    }

    /// The model that the text of a `config.json` describes. `path` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file.
    pub fn read(text: &str, path: &str) -> Result<Network> {
        let Named { architecture } = settings::read(text, path)?;
        let found = ARCHITECTURES.iter().find(|kind| kind.in_files.contains(&architecture.as_str()));
        let kind = found.ok_or_else(|| {
            Error::data(path, format!("architecture `{architecture}` is not known here; {} is", known()))
        })?;
        (kind.read)(text, path)
    }
}

/// The names, for errors.
fn known() -> String {
    ARCHITECTURES.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}
