//! A run's metrics as they are written: lines of JSON, TensorBoard's events, curves.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    History, curves,
    events::Events,
    history::{METRICS, scalars},
};
use crate::{Error, Result, files};

/// The picture of their curves.
pub(super) const CURVES: &str = "curves.svg";

/// Writes what a run measures.
#[derive(Debug)]
pub(super) struct Metrics {
    folder: PathBuf,
    lines: File,
    events: Events,
}

impl Metrics {
    /// Opens the files of a run that goes on after `step`, without what it will do again.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        let path = folder.join(METRICS);
        if path.exists() {
            let text = String::from_utf8_lossy(&files::read(&path)?).into_owned();
            let done = |line: &&str| {
                let value: Option<Value> = serde_json::from_str(line).ok();
                value.and_then(|value| value.get("step")?.as_u64()).is_some_and(|at| at <= step)
            };
            let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
            files::write_atomically(&path, kept.as_bytes())?;
        }
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(path))?;
        Ok(Self { folder: folder.to_owned(), lines, events: Events::open(folder, step)? })
    }

    /// Writes one object, which has a `step`. After a validation the curves are drawn again.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn log(&mut self, value: &Value) -> Result<()> {
        // In one piece, so that lines are whole for a reader during the run and after a kill.
        let line = format!("{value}\n");
        self.lines.write_all(line.as_bytes()).map_err(Error::io(self.folder.join(METRICS)))?;
        let scalars = scalars(value);
        if !scalars.is_empty() {
            self.events.scalars(value.get("step").and_then(Value::as_u64).unwrap_or(0), &scalars)?;
        }
        if value.get("valid").is_some_and(Value::is_object) {
            let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
            match curves::draw(&name, &History::read(&self.folder)?) {
                Ok(picture) => files::write_atomically(&self.folder.join(CURVES), picture.as_bytes())?,
                Err(why) => tracing::warn!("{CURVES} was not drawn: {why}"),
            }
        }
        Ok(())
    }
}
