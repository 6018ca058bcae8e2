//! Everything a run needs to go on exactly where it was, in one file that is whole or absent.

use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{Trainer, kept::Kept, metric::Place};
use crate::{
    Error, Gpu, Result, files,
    gpu::TileTable,
    graph::Parameters,
    model::{Metadata, SOURCE, StoredTensor, TARGET, checksum, whole, write_tensors},
    names::setting,
};

/// The checkpoint's name in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// The progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done: updates of the parameters.
    pub step: u64,
    /// The epoch under way, from 0.
    pub epoch: u64,
    /// Batches of that epoch done.
    pub batch: u64,
    /// Seconds of training so far, over all sessions.
    pub seconds: f64,
    /// Target tokens seen.
    pub tokens: u64,
    /// The step of the last validation.
    #[serde(default)]
    pub validated: u64,
    /// Validations since the best one.
    #[serde(default)]
    pub unimproved: u64,
    /// The number of halvings of the learning rate, where a plateau halves it.
    #[serde(default)]
    pub halvings: u32,
    /// The values of the best validation so far, by the run's metric.
    pub best: Option<Place>,
    /// The models that are kept beside the best one's folder, best first.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Whether the run has used up its budget.
    pub finished: bool,
    /// The steps of the warm-up, fixed when the run began. Runs of 0.1.0 have those of their options.
    #[serde(default)]
    pub warmup: Option<u64>,
    /// Whether biases and norms have no weight decay. In runs of 0.1.0 they have.
    #[serde(default)]
    pub spares_biases: bool,
}

/// The metadata of a checkpoint, beside its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    #[serde(flatten)]
    pub progress: Progress,
    /// The tiles that the run uses: with others its sums might round in another way.
    #[serde(default)]
    pub tiles: TileTable,
    /// Checksums of the tokenizers: with another one the run would go on with other words.
    #[serde(default)]
    tokenizers: Metadata,
    /// Checksums of what the run has read, by the names of the options: with other data the run would be another one.
    #[serde(default)]
    pub sums: Metadata,
    /// What 0.1.0 has in their place: checksums of files, by path.
    #[serde(default, skip_serializing)]
    pub data: Metadata,
}

const METADATA: &str = "progress";
/// The tensor of the loss scale, in a run in f16.
const LOSS_SCALE: &str = "loss_scale";

/// Gradients are no part of it, nor are moments of what is frozen: a checkpoint is written between updates alone.
fn groups(trainer: &Trainer) -> Vec<(&'static str, &Parameters)> {
    let state = &trainer.state;
    let mut groups = vec![("parameter", &state.parameters), ("first", &state.first), ("second", &state.second)];
    groups.extend(state.average.iter().map(|average| ("average", average)));
    groups
}

/// Writes a checkpoint of a run that has read what has these checksums.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; the errors of the device.
pub(super) fn save(gpu: &Gpu, folder: &Path, trainer: &Trainer, progress: &Progress, sums: &Metadata) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    let mut tensors = Vec::new();
    for (group, parameters) in groups(trainer) {
        let stored = StoredTensor::of_parameters(gpu, parameters)?;
        tensors.extend(
            stored.into_iter().map(|tensor| StoredTensor { name: format!("{group}.{}", tensor.name), ..tensor }),
        );
    }
    let tokenizers = [SOURCE, TARGET].into_iter().filter(|name| folder.join(name).is_file());
    let tokenizers = tokenizers.map(|name| Ok((name.to_owned(), checksum(&folder.join(name))?)));
    let tokenizers = tokenizers.into_iter().collect::<Result<_>>()?;
    if let Some(scaling) = &trainer.state.scaling {
        let shape = scaling.shape().dims().to_vec();
        tensors.push(StoredTensor { name: LOSS_SCALE.to_owned(), shape, bytes: gpu.read(scaling)? });
    }
    let (progress, tiles, sums) = (progress.clone(), gpu.tile_table().clone(), sums.clone());
    let saved = Saved { progress, tiles, tokenizers, sums, data: Metadata::new() };
    let saved =
        serde_json::to_string(&saved).map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
    write_tensors(&path, &tensors, Metadata::from([(METADATA.to_owned(), saved)]))
}

/// The metadata of a folder's checkpoint, if it has one.
///
/// # Errors
/// [`Error::Data`] for a damaged checkpoint, or a tokenizer that is not the one it was saved with.
pub(super) fn saved(folder: &Path) -> Result<Option<Saved>> {
    let path = folder.join(CHECKPOINT);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = files::read(&path)?;
    let (_, metadata) =
        whole(&path.display().to_string(), &bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    let text = metadata.get(METADATA).ok_or_else(|| damaged(&path, "it does not say how far the run is"))?;
    let saved: Saved = serde_json::from_str(text).map_err(|error| damaged(&path, &error.to_string()))?;
    // A tokenizer that is gone is made again from the data.
    for (path, sum) in saved.tokenizers.iter().map(|(name, sum)| (folder.join(name), sum)) {
        if path.is_file() && checksum(&path)? != *sum {
            return Err(damaged(&path, &format!("by its checksum in {CHECKPOINT} it has changed")));
        }
    }
    Ok(Some(saved))
}

/// Restores parameters, moments, average and loss scale.
///
/// # Errors
/// [`Error::Data`] for a checkpoint that is damaged or of another model.
pub(super) fn load(gpu: &Gpu, folder: &Path, trainer: &Trainer) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    let bytes = files::read(&path)?;
    let (file, _) = whole(&path.display().to_string(), &bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    let mut wanted = Vec::new();
    for (group, parameters) in groups(trainer) {
        let named = |name: &String| Some((format!("{group}.{name}"), parameters.tensor(name)?));
        wanted.extend(parameters.names().iter().filter_map(named));
    }
    wanted.extend(trainer.state.scaling.iter().map(|scaling| (LOSS_SCALE.to_owned(), scaling.clone())));
    let mut found = Vec::new();
    for (name, tensor) in wanted {
        let view = file.tensor(&name).map_err(|error| damaged(&path, &format!("{name}: {error}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != tensor.shape().dims() {
            return Err(damaged(&path, &format!("{name} has shape {:?}", view.shape())));
        }
        found.push((tensor, view));
    }
    if file.len() != found.len() {
        return Err(damaged(&path, &format!("it holds {} tensors, not {}", file.len(), found.len())));
    }
    found.iter().try_for_each(|(tensor, view)| gpu.write(tensor, view.data()))
}

fn damaged(path: &Path, why: &str) -> Error {
    let message =
        format!("not whole, or not of this run ({why}); restore it, or start again with {}", setting("overwrite"));
    Error::data(path.display().to_string(), message)
}
