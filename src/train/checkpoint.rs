//! Everything a run needs to go on exactly where it was, in one file that is whole or absent.

use std::{ops::Range, path::Path};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{Trainer, kept::Kept, metric::Place};
use crate::{
    Error, Gpu, Result, Tensor, files,
    gpu::{ELEMENT, Shape, TileTable},
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

/// The parameters and their average, which every rank has whole.
fn whole_groups(trainer: &Trainer) -> Vec<(&'static str, &Parameters)> {
    let state = &trainer.state;
    let average = state.average.iter().map(|average| ("average", average));
    [("parameter", &state.parameters)].into_iter().chain(average).collect()
}

/// The moments, of which ranks may have parts. There are none of what is frozen. Gradients are no part of a checkpoint, which is
/// written between updates alone.
fn moments_of(trainer: &Trainer) -> [(&'static str, &Parameters); 2] {
    [("first", &trainer.state.first), ("second", &trainer.state.second)]
}

/// The moments as a checkpoint holds them; where ranks have parts of them, all must call this. Nothing where they are neither shared
/// nor `wanted`.
///
/// # Errors
/// The errors of the device; [`Error::Rank`] if a rank has ended.
pub(super) fn moments(gpu: &Gpu, trainer: &Trainer, wanted: bool) -> Result<Vec<StoredTensor>> {
    let mut all = Vec::new();
    for (group, moments) in moments_of(trainer) {
        match trainer.sharded() {
            Some((ranks, _)) => {
                let gradients = &trainer.state.gradients;
                for name in gradients.names() {
                    let own = moments.tensor(name).map_or(Ok(Vec::new()), |part| gpu.read::<u8>(&part))?;
                    let bytes = ranks.all_gather_bytes(&own)?;
                    let shape = gradients.tensor(name).map(|tensor| tensor.shape().dims().to_vec());
                    if wanted && let Some(shape) = shape {
                        all.push(StoredTensor { name: format!("{group}.{name}"), shape, bytes: bytes.concat() });
                    }
                }
            }
            None if wanted => all.extend(grouped(group, StoredTensor::of_parameters(gpu, moments)?)),
            None => {}
        }
    }
    Ok(all)
}

fn grouped(group: &str, tensors: Vec<StoredTensor>) -> impl Iterator<Item = StoredTensor> {
    tensors.into_iter().map(move |tensor| StoredTensor { name: format!("{group}.{}", tensor.name), ..tensor })
}

/// Writes a checkpoint, with the [`moments`] of the trainer, of a run that has read what has these checksums.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; the errors of the device.
pub(super) fn save(
    gpu: &Gpu,
    folder: &Path,
    (trainer, moments): (&Trainer, Vec<StoredTensor>),
    progress: &Progress,
    sums: &Metadata,
) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    let mut tensors = moments;
    for (group, parameters) in whole_groups(trainer) {
        tensors.extend(grouped(group, StoredTensor::of_parameters(gpu, parameters)?));
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

/// Restores parameters, moments or this rank's part of them, average and loss scale.
///
/// # Errors
/// [`Error::Data`] for a checkpoint that is damaged or of another model.
pub(super) fn load(gpu: &Gpu, folder: &Path, trainer: &Trainer) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    let bytes = files::read(&path)?;
    let (file, _) = whole(&path.display().to_string(), &bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    let mut found = Vec::new();
    for Wanted { name, shape, part, tensor } in wanted(trainer) {
        let view = file.tensor(&name).map_err(|error| damaged(&path, &format!("{name}: {error}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape.dims() {
            return Err(damaged(&path, &format!("{name} has shape {:?}", view.shape())));
        }
        let bytes = ELEMENT as usize;
        let data = view.data().get(part.start * bytes..part.end * bytes).unwrap_or_default();
        found.push((tensor, data));
    }
    if file.len() != found.len() {
        return Err(damaged(&path, &format!("it holds {} tensors, not {}", file.len(), found.len())));
    }
    found.iter().try_for_each(|(tensor, data)| tensor.as_ref().map_or(Ok(()), |tensor| gpu.write(tensor, data)))
}

/// A tensor of a checkpoint, and where a part of it goes; that is nowhere for one of which a rank has no part.
struct Wanted {
    name: String,
    shape: Shape,
    part: Range<usize>,
    tensor: Option<Tensor>,
}

impl Wanted {
    fn all(name: String, tensor: Tensor) -> Self {
        Self { name, shape: tensor.shape().clone(), part: 0..tensor.elements(), tensor: Some(tensor) }
    }
}

/// What a checkpoint of the trainer's run holds.
fn wanted(trainer: &Trainer) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let state = &trainer.state;
    let whole = |group: &str, parameters: &Parameters| -> Vec<Wanted> {
        let named = |name: &String| Some(Wanted::all(format!("{group}.{name}"), parameters.tensor(name)?));
        parameters.names().iter().filter_map(named).collect()
    };
    for (group, moments) in moments_of(trainer) {
        let Some((_, shard)) = trainer.sharded() else {
            wanted.extend(whole(group, moments));
            continue;
        };
        let tensors = state.gradients.names().iter().filter_map(|name| Some((name, state.gradients.tensor(name)?)));
        wanted.extend(tensors.map(|(name, tensor)| Wanted {
            name: format!("{group}.{name}"),
            shape: tensor.shape().clone(),
            part: shard.part(tensor.elements()),
            tensor: moments.tensor(name),
        }));
    }
    wanted.extend(whole_groups(trainer).into_iter().flat_map(|(group, parameters)| whole(group, parameters)));
    wanted.extend(state.scaling.iter().map(|scaling| Wanted::all(LOSS_SCALE.to_owned(), scaling.clone())));
    wanted
}

fn damaged(path: &Path, why: &str) -> Error {
    let message =
        format!("not whole, or not of this run ({why}); restore it, or start again with {}", setting("overwrite"));
    Error::data(path.display().to_string(), message)
}
