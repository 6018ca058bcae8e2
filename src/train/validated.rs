//! What a validation finds.

use serde::Serialize;

use crate::text::Scores;

/// What a validation found, on (at most four thousand sources of) the pairs to check with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validated {
    /// How good the generated texts are.
    #[serde(flatten)]
    pub scores: Scores,
    /// The cross-entropy per token of the right answers, each `<eos>` included, without label smoothing.
    pub loss: f64,
}
