//! The best models of a run beside the one that its folder is: each a whole model folder, and their average.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Metric, metric::Place};
use crate::{
    Error, Gpu, Result, files,
    graph::Parameters,
    model::{Model, WEIGHTS, read_tensors},
};

/// The folder of these models in a run's folder; each is named by its step.
pub const BEST: &str = "best";

/// A model that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The steps that it had learned for.
    pub step: u64,
    /// The values that rank it, from its validation.
    pub place: Place,
}

fn folder(run: &Path, step: u64) -> PathBuf {
    run.join(BEST).join(step.to_string())
}

/// The rank of a new model among those that are kept, best first, if it is one of the best `most`. Of equals the earlier one is
/// the better.
pub(super) fn rank(kept: &[Kept], place: Place, most: usize, metric: Metric) -> Option<usize> {
    let rank = kept.iter().take_while(|other| !metric.is_better(place, other.place)).count();
    (rank < most).then_some(rank)
}

/// Writes a model into its folder among the kept ones, whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn save(run: &Path, step: u64, model: &Model) -> Result<()> {
    let folder = folder(run, step);
    // A folder of the same step is left from a session that was killed, and holds the same model.
    remove(&folder)?;
    files::write_folder(&folder, |room| model.save(room))
}

/// Removes every model that is not, or no longer, one of `kept`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn tidy(run: &Path, kept: &[Kept]) -> Result<()> {
    let best = run.join(BEST);
    if !best.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&best).map_err(Error::io(&best))? {
        let path = entry.map_err(Error::io(&best))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stays = kept.iter().any(|kept| kept.step.to_string() == name);
        if name.parse::<u64>().is_ok() && !stays {
            remove(&path)?;
        }
    }
    if kept.is_empty() {
        // Fails where somebody keeps something else there.
        let _ = std::fs::remove_dir(&best);
    }
    Ok(())
}

/// Removes a model, whole or not. What else somebody keeps in its folder stays, and the folder with it.
fn remove(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    files::remove_unfinished(folder)?;
    for path in Model::FILES.iter().map(|file| folder.join(file)).filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(Error::io(&path))?;
    }
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

/// The mean of the parameters of the kept models (as Vaswani et al. 2017, section 6.1, but of the best instead of the last).
///
/// # Errors
/// [`Error::Io`] or [`Error::Data`] for a model that is no longer whole.
pub(super) fn average(gpu: &Gpu, run: &Path, kept: &[Kept], like: &Parameters) -> Result<Parameters> {
    let files = kept.iter().map(|kept| folder(run, kept.step).join(WEIGHTS));
    let models =
        files.map(|file| Ok((read_tensors(&file)?, file.display().to_string()))).collect::<Result<Vec<_>>>()?;
    let averages = like.like(gpu, "average of the best models")?;
    for name in averages.names() {
        let Some(tensor) = averages.tensor(name) else { continue };
        let mut sum = vec![0.0_f64; tensor.elements()];
        for (tensors, file) in &models {
            let found = tensors.get(name).filter(|(shape, _)| shape == tensor.shape().dims());
            let (_, values) = found.ok_or_else(|| {
                Error::data(file, format!("tensor `{name}` {} is not there; restore the file", tensor.shape()))
            })?;
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let mean: Vec<f32> = sum.into_iter().map(|sum| (sum / models.len() as f64) as f32).collect();
        gpu.write(&tensor, &mean)?;
    }
    Ok(averages)
}
