//! One file per kernel family: what it computes, what it costs, and the dispatches that run it, forward and backward.

pub mod dot_product_attention;
pub mod matmul;
mod step;
mod table;

pub use step::Step;
pub use table::{SHADERS, SHARED};
