//! The origin of a run's data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::Pairs;
use crate::text::Task;

/// The origin of a run's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Data {
    /// A built-in task.
    Task(Task),
    /// Tab-separated files.
    Files {
        /// Training pairs.
        #[serde(serialize_with = "as_text")]
        train: PathBuf,
        /// Validation pairs.
        #[serde(serialize_with = "as_text")]
        valid: PathBuf,
    },
    /// Pairs in memory.
    Pairs(Pairs),
    /// Tab-separated files of questions over paragraphs that have the answers: [`crate::text::read_questions`].
    Questions {
        /// Training questions.
        #[serde(serialize_with = "as_text")]
        train: PathBuf,
        /// Validation questions.
        #[serde(serialize_with = "as_text")]
        valid: PathBuf,
    },
    /// Plain text, for a model that predicts each token from those before it.
    Text {
        /// The file to learn.
        #[serde(serialize_with = "as_text")]
        train: PathBuf,
        /// The file to validate on; without, the last tenth of the other is held out.
        #[serde(default, serialize_with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
        valid: Option<PathBuf>,
    },
}

pub(super) fn as_text_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => as_text(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// Writes a path as people read it: JSON has no other bytes than those of texts, and content decides what the data are.
pub(super) fn as_text<S: Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}
