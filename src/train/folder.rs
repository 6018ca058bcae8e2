//! Whose a run's folder is, and what the run was told.

use std::path::Path;

use super::{
    Budget, TrainOptions,
    checkpoint::{self, CHECKPOINT, Saved},
    events,
    history::METRICS,
    kept,
    lock::{LOCK, Lock},
    metrics::CURVES,
    same,
};
use crate::{
    Error, Result, files,
    model::{Metadata, Model},
    names::setting,
    text::read_text,
};

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

/// Takes the right to write into a folder that holds a run. One that holds none is locked when the run claims it.
///
/// # Errors
/// [`Error::Data`] where another session has that right, or for a folder of other files; [`Error::Io`].
pub(super) fn lock(destination: Destination<'_>) -> Result<Option<Lock>> {
    let Destination { folder, overwrite } = destination;
    // Also where another session is about to write what makes it a run's.
    let lock = match [OPTIONS, LOCK].iter().any(|name| folder.join(name).exists()) {
        true => Some(Lock::take(folder)?),
        false => None,
    };
    if !overwrite && !folder.join(OPTIONS).exists() && folder.exists() && !is_empty(folder)? {
        let message = format!(
            "is not empty and holds no run; choose another folder, or set {} to replace it",
            setting("overwrite")
        );
        return Err(Error::data(folder.display().to_string(), message));
    }
    Ok(lock)
}

/// Whether there is nothing in a folder but what an earlier lock or a session that was killed has left.
fn is_empty(folder: &Path) -> Result<bool> {
    let locked = folder.join(LOCK).exists();
    let mut entries = std::fs::read_dir(folder).map_err(Error::io(folder))?.flatten();
    Ok(entries.all(|entry| entry.file_name() == LOCK || locked && files::is_unfinished(&entry.path())))
}

/// The state that an earlier session of this run has left in the folder. Changes nothing.
///
/// # Errors
/// [`Error::Data`] for a folder that holds another run, or a finished one.
pub(super) fn examine(
    destination: Destination<'_>,
    options: &TrainOptions,
    sums: &Metadata,
    budget: Budget,
) -> Result<Option<Saved>> {
    let Destination { folder, overwrite } = destination;
    let file = folder.join(OPTIONS);
    if overwrite || !file.exists() {
        return Ok(None);
    }
    let other = |message: String| {
        let message = format!("{message}; choose another folder, or set {} to replace it", setting("overwrite"));
        Error::data(folder.display().to_string(), message)
    };
    let text = read_text(&file).map_err(|error| other(error.to_string()))?;
    let told: TrainOptions =
        serde_json::from_str(&text).map_err(|error| other(format!("{OPTIONS} cannot be read ({error})")))?;
    let saved = checkpoint::saved(folder)?;
    if let Some(difference) = same::difference((&told, saved.as_ref()), (options, sums))? {
        return Err(other(format!("holds a different run ({difference})")));
    }
    let Some(progress) = saved.as_ref().map(|saved| &saved.progress) else { return Ok(saved) };
    let limits = budget.reached(progress);
    if progress.finished && !limits.is_empty() {
        let limits = limits.iter().map(|limit| setting(limit)).collect::<Vec<_>>().join(" and ");
        let message = format!("this run is finished, after {} steps; more {limits} let it go on", progress.step);
        return Err(other(message));
    }
    if let Some([old, new]) = same::lengths(told.schedule.decay, options.schedule.decay) {
        tracing::warn!(
            "the learning rate was to reach 0 at the end of epoch {old}, and now does at the end of epoch {new}: this run differs \
             from one that was to last {new} epochs from the start"
        );
    }
    Ok(saved)
}

/// Makes the folder this run's, before its first step: what an earlier run left there goes, other files stay.
///
/// # Errors
/// [`Error::Data`] where another session is at work there, or has been since [`examine`]; [`Error::Io`].
pub(super) fn claim(destination: Destination<'_>, lock: Option<Lock>, options: &TrainOptions) -> Result<Lock> {
    let folder = destination.folder;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let lock = match lock {
        Some(lock) => lock,
        None => {
            let lock = Lock::take(folder)?;
            if folder.join(OPTIONS).exists() && !destination.overwrite {
                let message = "a run began and ended there in the meantime; start again to see whether it is this one";
                return Err(Error::data(folder.display().to_string(), message));
            }
            lock
        }
    };
    remove_unfinished(folder)?;
    events::remove(folder)?;
    for name in [CHECKPOINT, METRICS, CURVES, PAGE].into_iter().chain(Model::FILES) {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(Error::io(path))?;
        }
    }
    kept::tidy(folder, &[])?;
    write_options(folder, options)?;
    Ok(lock)
}

/// Removes what killed sessions of a run had begun to write.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn remove_unfinished(folder: &Path) -> Result<()> {
    let folders = [folder.to_owned(), folder.join(kept::BEST)];
    folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| files::remove_unfinished(folder))
}

/// Writes what a run is told.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_options(folder: &Path, options: &TrainOptions) -> Result<()> {
    let text = serde_json::to_vec_pretty(options).map_err(|error| Error::data(OPTIONS, error.to_string()))?;
    files::write_atomically(&folder.join(OPTIONS), &text)
}
