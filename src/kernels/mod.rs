//! One file per kernel family: what it computes, what it costs, and the dispatches that run it, forward and backward.

pub mod adam;
pub mod copy;
pub mod cross_entropy;
pub mod embedding;
mod expect;
pub mod gru;
pub mod matmul;
pub mod pointwise;
pub mod reduction;
mod step;
mod table;

pub use step::Step;
pub use table::{SHADERS, SHARED};
