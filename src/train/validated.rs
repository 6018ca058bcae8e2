//! The results of a validation.

use serde::Serialize;

use crate::text::Scores;

/// The results of a validation: of pairs, on at most four thousand sources.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validated {
    /// The scores of the generated texts; none of a model that learns from plain text. Where they are parts of their sources, an exact
    /// match is what it is in [`crate::text::AnswerScores`].
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// Of answers that are parts of their sources: the F1 of their words, in percent ([`crate::text::AnswerScores`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// The cross-entropy per token of the references, or of the text, each `<eos>` included, in nats: what the loss of training is
    /// without label smoothing and other terms, and for places of answers without those of padding.
    pub cross_entropy: f64,
    /// Of plain text: the bits that a byte of it takes, by the model's probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
}
