//! An architecture: a row of the table.

use serde_json::{Map, Value};

use super::{Habits, Import, Learns, ModelOptions, Network, Shapes};
use crate::Result;

/// Makes a model for a source and a target vocabulary; one that reads no source takes the second alone.
pub(super) type Make = fn(&ModelOptions, [usize; 2]) -> Result<Network>;

/// Makes the network of a PyTorch `state_dict` from the shapes of its tensors; the settings are those that shapes do not tell.
pub(super) type FromShapes = fn(&Shapes, &Settings) -> Result<Network>;

/// Fields of a `config.json`.
pub(super) type Settings = Map<String, Value>;

/// A row of the table of architectures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Its names in `config.json`.
    pub(super) in_files: &'static [&'static str],
    /// Reads the text of `config.json`; the second argument names the file in errors.
    pub(super) read: fn(&str, &str) -> Result<Network>,
    /// What a new one may learn from, each with its maker; nothing for models that are not trained here.
    pub(super) makes: &'static [(Learns, Make)],
    /// Models of Hugging Face's that it reads.
    pub(super) imports: &'static [Import],
    /// Makes the network of a PyTorch `state_dict`, if it is read from any.
    pub(super) from_shapes: Option<FromShapes>,
    /// How a new one learns pairs, if it does.
    pub habits: Habits,
}
