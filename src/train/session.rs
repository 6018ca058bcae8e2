//! The adapter and sizes of a run's last session.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Gpu, Result, files};

const SESSION: &str = "session.json";

/// The adapter and the sizes of a run's last session, as they stand in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver, with the version.
    pub driver: String,
    /// The interface that it was reached by.
    pub backend: String,
    /// Values of all parameters.
    pub parameters: usize,
    /// Training pairs.
    pub train_pairs: usize,
    /// Validation pairs.
    pub valid_pairs: usize,
    /// The version of this crate.
    pub version: String,
}

impl Session {
    pub(super) fn new(gpu: &Gpu, parameters: usize, train_pairs: usize, valid_pairs: usize) -> Self {
        let info = gpu.info();
        Self {
            adapter: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: format!("{:?}", info.backend),
            parameters,
            train_pairs,
            valid_pairs,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::data(SESSION, error.to_string()))?;
        files::write_atomically(&folder.join(SESSION), &text)
    }

    /// Reads what a run's folder says; nothing where it does not.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a file that is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(SESSION);
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |error: serde_json::Error| {
            let message = format!("not what `softalign train` writes there ({error}); delete it");
            Error::data(path.display().to_string(), message)
        };
        serde_json::from_slice(&files::read(&path)?).map(Some).map_err(damaged)
    }
}
