//! Whose a run's folder is, and what the run was told.

use std::path::Path;

use super::{
    Budget, TrainOptions,
    checkpoint::{self, CHECKPOINT, Saved},
    events,
    history::METRICS,
    kept,
    metrics::CURVES,
};
use crate::{Error, Result, files, model::FILES};

/// The file that says what a folder's run was told.
const OPTIONS: &str = "run.json";
/// The page about a run, where nobody wants it elsewhere.
pub const PAGE: &str = "report.html";

/// The place of a run on disk.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The run's folder: absent, empty, or of the same run, which goes on there.
    pub folder: &'a Path,
    /// Whether files of an earlier run there are replaced, and the same run starts anew.
    pub overwrite: bool,
}

/// The state that an earlier session of this run has left in the folder. Changes nothing.
pub(super) fn examine(destination: Destination<'_>, options: &TrainOptions, budget: Budget) -> Result<Option<Saved>> {
    let Destination { folder, overwrite } = destination;
    let show = folder.display().to_string();
    let file = folder.join(OPTIONS);
    if overwrite || !folder.exists() {
        return Ok(None);
    }
    if !file.exists() {
        if std::fs::read_dir(folder).map_err(Error::io(folder))?.next().is_none() {
            return Ok(None);
        }
        let message = "is not empty and holds no run; choose another folder, or set `overwrite` to replace it";
        return Err(Error::data(&show, message));
    }
    let other = |message: String| {
        Error::data(&show, format!("{message}; choose another folder, or set `overwrite` to replace it"))
    };
    let found: TrainOptions = serde_json::from_slice(&files::read(&file)?)
        .map_err(|error| other(format!("{OPTIONS} cannot be read ({error})")))?;
    // Runs of 0.1.0 do not say it; it decides which model is the best, and no parameter.
    let found = TrainOptions { group_references: options.group_references, ..found };
    if &found != options {
        return Err(other(format!("holds a different run ({})", difference(&found, options))));
    }
    let saved = checkpoint::saved(folder)?;
    let progress = saved.as_ref().map(|saved| &saved.progress);
    if let Some(progress) = progress.filter(|progress| progress.finished && budget.used_up(progress)) {
        let message = format!(
            "this run is finished, after {} steps; more `epochs`, `steps`, `minutes` or `patience` go on",
            progress.step
        );
        return Err(other(message));
    }
    Ok(saved)
}

/// Makes the folder this run's, before its first step: what an earlier run left there goes, other files stay.
pub(super) fn claim(folder: &Path, options: &TrainOptions) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    events::remove(folder)?;
    for name in [CHECKPOINT, METRICS, CURVES, PAGE].into_iter().chain(FILES) {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(Error::io(path))?;
        }
    }
    kept::tidy(folder, &[])?;
    let text = serde_json::to_vec_pretty(options).map_err(|error| Error::data(OPTIONS, error.to_string()))?;
    files::write_atomically(&folder.join(OPTIONS), &text)
}

/// The first option that differs.
fn difference(found: &TrainOptions, wanted: &TrainOptions) -> String {
    // By way of the text: a value made directly would show 0.1 as 0.10000000149011612.
    let value = |options| serde_json::from_str(&serde_json::to_string(options)?);
    let (found, wanted) = (value(found), value(wanted));
    let (Ok(serde_json::Value::Object(found)), Ok(serde_json::Value::Object(wanted))) = (found, wanted) else {
        return "other options".into();
    };
    // An option with its default value may be missing from the file.
    let show = |value: Option<&serde_json::Value>| value.map_or_else(|| "the default".to_owned(), ToString::to_string);
    let differing = found.keys().chain(wanted.keys()).find(|name| found.get(*name) != wanted.get(*name));
    differing.map_or_else(
        || "other options".into(),
        |name| format!("{name} is {} there and {} here", show(found.get(name)), show(wanted.get(name))),
    )
}
