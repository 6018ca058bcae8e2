//! The report of a benchmark, as a file keeps it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Ceilings, Clock};
use crate::{Error, Result, files};

/// A run of `softalign bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The adapter's name, driver and backend.
    pub adapter: String,
    /// The adapter's limits.
    pub ceilings: Ceilings,
    /// The least, the median and the most of the multiply-add ceiling read between the rows, in 1e9 operations a second.
    #[serde(default)]
    pub drift: Option<[f64; 3]>,
    /// The rows, one for each workload.
    #[serde(default)]
    pub rows: Vec<Row>,
}

/// Which of the adapter's limits a workload meets first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Its operations.
    Arithmetic,
    /// Its bytes.
    Memory,
}

/// A workload's figures. A workload that failed has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The workload's key.
    pub workload: String,
    /// Median time of a run.
    pub ms: Option<f64>,
    /// Distance between the quartiles of the times.
    pub spread_ms: Option<f64>,
    /// The shortest time.
    pub fastest_ms: Option<f64>,
    /// Median from submit to the end of waiting.
    pub wall_ms: Option<f64>,
    /// Whose time `ms` is.
    pub clock: Option<Clock>,
    /// The number of times.
    pub repetitions: usize,
    /// 1e9 operations a second. Additive attention has a definition of its own, 6 a (b, t, s, h) forward and 15 with the
    /// backward, so that implementations that compute differently can be compared.
    pub gflops: Option<f64>,
    /// 1e9 bytes a second, of those that must at least be read and written.
    pub gbps: Option<f64>,
    /// Target tokens a second.
    pub tokens_per_s: Option<f64>,
    /// The least time that the ceilings allow, in percent of `ms`. Over 100 where data stays in caches.
    pub ceiling_percent: Option<f64>,
    /// The ceiling that sets the least time: arithmetic or memory.
    pub bound: Option<Bound>,
    /// Operations as the kernels count them, for each byte.
    pub operations_per_byte: Option<f64>,
    /// 1e9 operations a second as the kernels count them.
    pub counted_gflops: Option<f64>,
    /// Dispatches of a run.
    pub dispatches: u64,
    /// Submits of a run.
    pub submits: u64,
    /// Bytes of the buffers made for it.
    pub bytes: u64,
    /// Bytes of these that are neither inputs nor outputs.
    pub scratch_bytes: u64,
    /// The output's worst error against the reference, relative to its largest value.
    pub error: Option<f64>,
    /// A remark about the figures.
    pub label: Option<String>,
    /// The reason why there are no figures.
    pub failure: Option<String>,
}

impl Row {
    /// The row of a workload that could not be measured.
    pub fn failed(workload: &str, failure: String) -> Self {
        Self { workload: workload.to_owned(), failure: Some(failure), ..Self::default() }
    }
}

impl Report {
    /// Writes the report as JSON.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
        files::write_atomically(path, (text + "\n").as_bytes())
    }

    /// Reads a report.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for a file that holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&files::read(path)?).map_err(|error| {
            let message =
                format!("not a report of `softalign bench --json`: {error}; measure again to write a new one");
            Error::data(path.display().to_string(), message)
        })
    }
}
