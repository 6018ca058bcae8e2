//! An architecture: a row of the table.

use std::fmt;

use super::{Import, ModelOptions, Network};
use crate::Result;

/// The data that a model learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learns {
    /// Pairs of a source and the target that answers it.
    Pairs,
    /// Plain text, each token of which it predicts from those before.
    Text,
    /// Pairs of a text and the class it belongs to.
    Classes,
    /// Questions over paragraphs that have the answers.
    Spans,
}

impl fmt::Display for Learns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pairs => "pairs",
            Self::Text => "plain text",
            Self::Classes => "texts and their classes",
            Self::Spans => "questions over paragraphs",
        })
    }
}

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
