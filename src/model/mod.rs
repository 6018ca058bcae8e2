//! Models: parameters with names, built as graphs, kept in folders.
//!
//! A model is one folder here, which implements [`Architecture`], and a row of [`ARCHITECTURES`]; what trains models, searches
//! with them and scores them knows them by that trait alone.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod architecture;
pub mod bahdanau;
#[cfg(feature = "text")]
mod folder;
mod gru_encoder;
mod kind;
mod layers;
pub mod luong;
mod options;
mod parameter;
mod readout;
mod regularisation;
mod settings;
mod stepper;
mod table;
mod tensors;
mod token_model;

pub use crate::batch::{BatchShape, Specials};
pub use architecture::{Architecture, Forward, Limits, Network};
#[cfg(feature = "text")]
pub use folder::Model;
#[cfg(feature = "train")]
pub(crate) use folder::{FILES, SOURCE, TARGET, checksum};
pub use gru_encoder::{Encoded, GruEncoder};
pub use kind::Kind;
pub use layers::{Embedding, GruCell, GruTensors, Layers, Linear, LinearTensors};
pub use options::ModelOptions;
pub use parameter::{Initial, Parameter, first_values, zeros};
pub use readout::Readout;
pub use regularisation::Regularisation;
pub use stepper::{Encoder, SearchRoom, StepOutputs, Stepper};
pub use table::ARCHITECTURES;
#[cfg(feature = "train")]
pub(crate) use tensors::whole;
pub use tensors::{Metadata, StoredTensor, TensorsByName, load_tensors, tensors_of};
#[cfg(feature = "text")]
pub use tensors::{read_tensors, write_tensors};
pub use token_model::{TokenModel, WEIGHTS};
