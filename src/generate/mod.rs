//! From a source to text: greedy and beam search on the device, alignment weights, scores on data.

mod decoder;
mod evaluate;
mod fonts;
mod generator;
mod options;
mod picture;

pub use evaluate::{evaluate, evaluate_with};
pub(crate) use fonts::Face;
pub use generator::{Generator, Hypothesis};
pub use options::SearchOptions;
pub use picture::draw_alignment;
