//! An architecture: a row of the table.

use super::{Import, Learns, ModelOptions, Network};
use crate::Result;

/// Makes a model for a source and a target vocabulary; one that reads no source takes the second alone.
pub(super) type Make = fn(&ModelOptions, [usize; 2]) -> Result<Network>;

/// A row of the table of architectures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Its names in `config.json`.
    pub(super) in_files: &'static [&'static str],
    /// Reads the text of `config.json`; the second argument names the file in errors.
    pub(super) read: fn(&str, &str) -> Result<Network>,
    /// What a new one may learn from, each with its maker; nothing for models that are not trained here.
    pub(super) makes: &'static [(Learns, Make)],
    /// Models of Hugging Face's that it reads.
    pub(super) imports: &'static [Import],
}
