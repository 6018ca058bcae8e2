//! From a source to what a model writes for it: greedy and beam search and sampling on the device, by one model or several, and
//! alignment weights; and from a text to its embedding. It takes token ids and gives token ids; feature `text` adds what needs
//! tokenizers: [`Generator::ensemble`], [`replace_unknown`], [`evaluate`] and [`Scorer`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod choices;
mod decoder;
mod embedder;
#[cfg(feature = "text")]
mod evaluate;
#[cfg(feature = "text")]
mod evaluation_set;
#[cfg(feature = "report")]
mod fonts;
mod found;
mod generator;
mod hypothesis;
#[cfg(feature = "text")]
mod masked;
mod options;
#[cfg(feature = "report")]
mod picture;
#[cfg(feature = "text")]
mod plain;
mod reading;
#[cfg(feature = "text")]
mod scorer;
mod spans;
#[cfg(feature = "text")]
mod text;
mod tokens;
#[cfg(feature = "text")]
mod unknown;

pub use crate::kernels::beam_search::Sampling;
pub use embedder::Embedder;
#[cfg(feature = "text")]
pub use evaluate::{
    AnswerEvaluation, Evaluation, Intervals, evaluate, evaluate_in_full, evaluate_texts, evaluate_with,
};
#[cfg(feature = "text")]
use evaluation_set::Written;
#[cfg(feature = "text")]
pub use evaluation_set::{EvaluationSet, Scoring};
#[cfg(feature = "cli")]
pub(crate) use fonts::Face;
pub use generator::Generator;
pub use hypothesis::Hypothesis;
#[cfg(feature = "text")]
pub use masked::{MaskedEvaluation, evaluate_masked};
pub use options::SearchOptions;
#[cfg(feature = "report")]
pub use picture::draw_alignment;
#[cfg(feature = "text")]
pub use plain::{PlainEvaluation, evaluate_plain};
#[cfg(feature = "text")]
pub use scorer::{Likelihood, Scorer, ScoringBatches};
#[cfg(feature = "train")]
pub(crate) use text::difference;
pub use tokens::Tokens;
#[cfg(feature = "text")]
pub use unknown::replace_unknown;
