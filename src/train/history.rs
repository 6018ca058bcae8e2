//! The history of a run: its measurements so far, read from the lines that it has written.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::{Result, files};

/// The file that metrics go to, a JSON object a line.
pub(super) const METRICS: &str = "metrics.jsonl";
/// The tag of the sentence error rate.
pub(super) const SENTENCE_ERROR_RATE: &str = "valid/sentence_error_rate";
/// The tag of the cross-entropy of the references.
pub(super) const CROSS_ENTROPY: &str = "valid/cross_entropy";
/// Tags of runs of 0.1.0, each with the one that stands in its place now.
const OLD: [(&str, &str); 2] = [("valid/wer", SENTENCE_ERROR_RATE), ("valid/loss", CROSS_ENTROPY)];

/// The numbers of a line that make curves, each with its tag: `train/NAME`, or `valid/NAME` for those of a validation.
pub(super) fn scalars(line: &Value) -> Vec<(String, f64)> {
    // Fields that locate a line in the run or count the sources validated.
    const NO_CURVES: [&str; 5] = ["step", "epoch", "seconds", "total", "count"];
    let numbers = |value: &Value, group: &str| -> Vec<(String, f64)> {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !NO_CURVES.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((format!("{group}/{name}"), value.as_f64()?)))
            .collect()
    };
    [numbers(line, "train"), line.get("valid").map_or_else(Vec::new, |valid| numbers(valid, "valid"))].concat()
}

/// The measurements of a run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Steps and values by tag, such as `train/loss` and `valid/per`.
    pub series: BTreeMap<String, Vec<(u64, f64)>>,
    /// Steps done.
    pub step: u64,
    /// The epoch under way, from 0.
    pub epoch: u64,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// Steps of the whole run, as far as it could tell.
    pub total: Option<u64>,
    /// The step of the best validation.
    pub best: Option<u64>,
}

impl History {
    /// Reads the metrics in a run's folder, which may be under way. A folder without metrics has an empty history.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the file.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(METRICS);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = String::from_utf8_lossy(&files::read(&path)?).into_owned();
        let mut history = Self::default();
        // The last line may be under way.
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let field = |name| line.get(name);
            let Some(step) = field("step").and_then(Value::as_u64) else { continue };
            history.step = step.max(history.step);
            history.epoch = field("epoch").and_then(Value::as_u64).unwrap_or(history.epoch);
            history.seconds = field("seconds").and_then(Value::as_f64).unwrap_or(history.seconds);
            history.total = field("total").and_then(Value::as_u64).or(history.total);
            if field("best").and_then(Value::as_bool) == Some(true) {
                history.best = Some(step);
            }
            for (tag, value) in scalars(&line) {
                let now = OLD.iter().find(|(old, _)| *old == tag).map(|(_, now)| (*now).to_owned());
                let tag = now.unwrap_or(tag);
                history.series.entry(tag).or_default().push((step, value));
            }
        }
        Ok(history)
    }

    /// The last value of a series.
    pub fn last(&self, tag: &str) -> Option<f64> {
        self.series.get(tag)?.last().map(|(_, value)| *value)
    }
}
