//! Models: parameters with names, built as graphs, kept in folders.
//!
//! A model is one folder here, which implements [`Architecture`], and a row of [`ARCHITECTURES`]; what trains models, searches
//! with them and scores them knows them by that trait alone.
//!
//! The next one is added so:
//! 1. `config.rs`: its settings as `config.json` holds them, checked with `settings`;
//! 2. `mod.rs`: its layers by what they are for, from the building blocks of `layers`, with the names that checkpoints of it have;
//! 3. `graph.rs`: [`Architecture::forward`], from columns of [`crate::batch::Batch`] to logits and targets;
//! 4. `step.rs`: a [`Stepper`], the same a token at a time, if it writes text;
//! 5. `hugging_face.rs`: an [`Import`] for each kind of checkpoint that it reads, and the [`Counterpart`] that it is written as;
//! 6. `state_dict.rs`: the sizes that the shapes of PyTorch's `state_dict` tell, if it is often met with as one;
//! 7. its row in [`ARCHITECTURES`], its cases in `tests/golden`, and a test module; where no other implementation vouches for it, a
//!    plain model in [`mod@crate::reference`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

pub mod adaptive_span;
#[cfg(feature = "text")]
mod answering;
mod architecture;
pub mod bahdanau;
pub mod bert;
pub mod convs2s;
mod counterpart;
#[cfg(feature = "text")]
mod description;
#[cfg(feature = "text")]
mod folder;
pub mod gpt2;
mod gru_encoder;
mod habits;
#[cfg(feature = "text")]
mod hugging_face;
mod import;
mod kind;
mod layers;
mod learns;
mod loading;
pub mod luong;
mod options;
mod parameter;
mod readout;
pub mod reformer;
mod regularisation;
mod renames;
mod settings;
mod shapes;
#[cfg(feature = "text")]
mod shards;
pub mod stack;
#[cfg(feature = "text")]
mod state_dict;
mod stepper;
pub mod sutskever;
pub mod t5;
mod table;
#[cfg(feature = "train")]
mod teaching;
mod tensors;
mod token_model;
pub mod transformer;
pub mod transformer_xl;
#[cfg(feature = "text")]
mod writing;

pub use crate::batch::{BatchShape, Specials};
#[cfg(feature = "text")]
pub use answering::Prompt;
pub use architecture::{Answers, Architecture, Forward, Limits, Network};
pub use counterpart::Counterpart;
#[cfg(feature = "text")]
pub use folder::{Model, ModelFiles};
#[cfg(feature = "train")]
pub(crate) use folder::{SOURCE, TARGET, checksum};
pub use gru_encoder::{Encoded, GruEncoder};
pub use habits::Habits;
pub use import::Import;
pub use kind::Kind;
pub use layers::{
    Attended, CachedLayer, CausalLayer, CausalSteps, DecoderLayer, DecoderSizes, DecoderSteps, Embedding, EncoderLayer,
    FeedForward, FeedForwardRows, FeedForwardTensors, Flow, GruCell, GruTensors, HeadSizes, LayerDropout, LayerNorm,
    LayerNormTensors, Layers, Linear, LinearTensors, Memory, MultiHeadAttention, Nonlinearity, NormOrder, Places,
    PositionKind, PositionTensors, Positions, RelativeBias, RelativeBiasTensors, Residual, Segment, SourceLayer,
    SourceRows, StepCaches, StepRows, Vocabularies, VocabularySettings, Weighing, WindowAttention, decode, in_segments,
    joined, remembered,
};
pub use learns::Learns;
pub use loading::load_tensors;
pub use options::ModelOptions;
use parameter::distinct;
pub use parameter::{Initial, Parameter, first_values, zeros};
pub use readout::Readout;
pub use regularisation::Regularisation;
pub use renames::Renames;
pub use shapes::Shapes;
#[cfg(feature = "text")]
pub use state_dict::network_of_state_dict;
pub use stepper::{Encoder, SearchRoom, StepOutputs, Stepper};
pub use table::ARCHITECTURES;
#[cfg(feature = "text")]
pub use tensors::read_tensors;
#[cfg(feature = "train")]
pub(crate) use tensors::whole;
pub use tensors::{Metadata, StoredTensor, TensorsByName, tensors_of};
#[cfg(feature = "train")]
pub(crate) use token_model::CONFIG;
pub use token_model::{TokenModel, WEIGHTS};
#[cfg(feature = "text")]
pub use writing::write_tensors;
