//! One file per kernel family: what it computes, what it costs, and the dispatches that run it, forward and backward.

pub mod adam;
pub mod additive_attention;
pub mod additive_score;
pub mod alignment_loss;
pub mod attentional_decoder;
pub mod beam_search;
pub mod cached_attention;
pub mod ceiling;
pub mod copy;
pub mod coverage_loss;
pub mod cross_entropy;
pub mod dot_product_attention;
pub mod dropout;
pub mod embedding;
mod expect;
mod forms;
mod gate_input;
pub mod gru;
mod heads;
mod library;
pub mod local_attention;
pub mod matmul;
mod matrix;
pub mod pointwise;
pub mod reduction;
pub mod relative_position_bias;
mod rounds;
pub mod softmax;
mod step;
mod table;
mod tunable;

pub use library::SHARED;
pub use step::Step;
pub use table::{SHADERS, TUNABLE, unusable};
pub use tunable::{Tunable, TunableKernel};
