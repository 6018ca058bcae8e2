//! Models: parameters with names, built as graphs, kept in folders.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod config;
#[cfg(feature = "text")]
mod folder;
mod parameters;
mod regularisation;
mod seq2seq;
mod tensors;

pub use config::{Config, Readout};
#[cfg(feature = "train")]
pub(crate) use folder::{FILES, SOURCE, TARGET, checksum};
#[cfg(feature = "text")]
pub use folder::{Model, WEIGHTS};
pub use parameters::initial;
pub use regularisation::Regularisation;
pub use seq2seq::{DecoderParameters, EncodingGraph, Linear, Seq2Seq, TrainingGraph};
#[cfg(feature = "text")]
pub(crate) use tensors::whole;
#[cfg(feature = "text")]
pub use tensors::write_tensors;
pub use tensors::{Metadata, StoredTensor, TensorsByName, load_tensors, read_tensors};
