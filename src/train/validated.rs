//! The results of a validation.

use serde::Serialize;

use crate::text::Scores;

/// The results of a validation, on at most four thousand sources of the validation pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validated {
    /// The scores of the generated texts.
    #[serde(flatten)]
    pub scores: Scores,
    /// The cross-entropy per token of the references, each `<eos>` included, in nats: what the loss of training is without label
    /// smoothing and other terms.
    pub cross_entropy: f64,
}
