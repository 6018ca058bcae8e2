//! From a source to text: greedy and beam search on the device, alignment weights, scores on data.

mod evaluate;
mod generator;

pub use evaluate::{evaluate, evaluate_with};
pub use generator::{Generator, Hypothesis};
