//! Models: parameters with names, built as graphs, kept in folders.

mod config;
mod folder;
mod parameters;
mod seq2seq;

pub use config::{Config, Readout};
pub use folder::{Model, load_weights, save_weights, write_atomically};
pub use parameters::initial;
pub use seq2seq::{Seq2Seq, TrainingGraph};
