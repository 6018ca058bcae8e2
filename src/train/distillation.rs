//! What a run is told of its teachers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    Error, Result,
    model::{WEIGHTS, checksum},
    names::setting,
};

/// Models that a run learns from beside its data: word-level distillation (Kim and Rush 2016, section 3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// Their folders: one, or an ensemble.
    #[serde(serialize_with = "as_texts")]
    pub models: Vec<PathBuf>,
    /// What the mean of their distributions counts beside the data, from 0 to 1.
    pub weight: f32,
}

fn as_texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

impl Distillation {
    /// The weight where nobody asks for another: as much as the data.
    pub const WEIGHT: f32 = 0.5;

    /// Checks what can be checked without a device.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub(super) fn check(&self) -> Result<()> {
        if self.models.is_empty() {
            return Err(Error::data(setting("teacher"), "names no model"));
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Error::data(setting("teacher_weight"), format!("{} is not from 0 to 1", self.weight)));
        }
        Ok(())
    }

    /// The checksums of all parameters that teach.
    ///
    /// # Errors
    /// [`Error::Io`] for files that cannot be read.
    pub(super) fn checksum(&self) -> Result<String> {
        let sums = self.models.iter().map(|folder| checksum(&folder.join(WEIGHTS)));
        Ok(sums.collect::<Result<Vec<_>>>()?.join(" "))
    }
}
