//! An architecture: a row of the table.

use super::{ModelOptions, Network};
use crate::Result;

/// A row of the table of architectures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Its names in `config.json`.
    pub(super) in_files: &'static [&'static str],
    /// Reads the text of `config.json`; the second argument names the file in errors.
    pub(super) read: fn(&str, &str) -> Result<Network>,
    /// Makes a model for a source and a target vocabulary.
    pub(super) make: fn(&ModelOptions, [usize; 2]) -> Result<Network>,
}
