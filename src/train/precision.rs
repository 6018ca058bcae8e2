//! The precision in which a run stores activations.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Gpu, Result,
    gpu::{Dtype, adapter},
    names::setting,
};

/// The type of activations, of the values kept for the backward pass and of their gradients. Parameters, moments, losses and
/// all sums are f32 in either, and so are the tensors of a model folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats, with a loss scale that follows what they can hold.
    F16,
}

impl Precision {
    /// The type of activations.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    /// Whether an adapter can do it.
    ///
    /// # Errors
    /// [`Error::Data`] for f16 on an adapter without.
    pub fn check(self, gpu: &Gpu) -> Result<()> {
        if self == Self::F32 || gpu.tiles().f16 {
            return Ok(());
        }
        let adapter = adapter::describe(gpu.info());
        let message =
            format!("{adapter} offers no f16 in shaders; use f32, or another adapter (see `softalign devices`)");
        Err(Error::data(setting("precision"), message))
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err("known precisions: f32, f16".into()),
        }
    }
}
