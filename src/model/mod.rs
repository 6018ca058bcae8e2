//! Models: parameters with names, built as graphs, kept in folders.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod config;
mod folder;
pub mod luong;
mod parameters;
mod regularisation;
mod seq2seq;
mod tensors;

pub use config::{Config, Readout};
pub(crate) use folder::{FILES, SOURCE, TARGET, checksum};
pub use folder::{Model, WEIGHTS};
pub use parameters::initial;
pub use regularisation::Regularisation;
pub use seq2seq::{DecoderParameters, EncodingGraph, Linear, Seq2Seq, TrainingGraph};
pub(crate) use tensors::whole;
pub use tensors::{Metadata, StoredTensor, TensorsByName, load_tensors, read_tensors, write_tensors};
