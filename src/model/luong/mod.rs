//! Global and local attention after the decoder's cell: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural
//! Machine Translation" (2015), with GRUs in place of LSTMs.

mod config;
mod graph;
mod layers;

pub use config::{Config, Score, Window};
pub use graph::{Forward, Luong};
pub use layers::Layers;
