//! From a source to text: greedy and beam search and sampling on the device, by one model or several, alignment weights, scores
//! on data. Feature `text`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod decoder;
mod evaluate;
mod evaluation_set;
#[cfg(feature = "report")]
mod fonts;
mod found;
mod generator;
mod hypothesis;
mod member;
mod options;
#[cfg(feature = "report")]
mod picture;
mod scorer;
mod text;
mod tokens;
mod unknown;

pub use crate::kernels::beam_search::Sampling;
pub use evaluate::{Evaluation, Intervals, evaluate, evaluate_in_full, evaluate_texts, evaluate_with};
use evaluation_set::Written;
pub use evaluation_set::{EvaluationSet, Scoring};
#[cfg(feature = "cli")]
pub(crate) use fonts::Face;
pub use generator::Generator;
pub use hypothesis::Hypothesis;
pub use options::SearchOptions;
#[cfg(feature = "report")]
pub use picture::draw_alignment;
pub use scorer::{Likelihood, Scorer, ScoringBatches};
pub use tokens::Tokens;
pub use unknown::replace_unknown;
