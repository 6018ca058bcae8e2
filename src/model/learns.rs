//! The kinds of data that models learn from.

use std::fmt;

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
    /// Plain text, some tokens of which it predicts from all others.
    Masked,
}

impl fmt::Display for Learns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pairs => "pairs",
            Self::Text => "plain text",
            Self::Classes => "texts and their classes",
            Self::Spans => "questions over paragraphs",
            Self::Masked => "masked text",
        })
    }
}
