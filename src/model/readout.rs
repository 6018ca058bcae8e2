//! The readout: the layer between a decoder and its output layer.

use serde::{Deserialize, Serialize};

/// The layer between the decoder's features and the output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readout {
    /// `tanh(W [state; context; word] + b)`.
    Tanh,
    /// No layer: the output layer reads `[state; context; word]` itself.
    None,
}
