//! The tensors of a file, or of a Hugging Face folder: those of `model.safetensors`, or of the files that
//! `model.safetensors.index.json` lists. A header at a time says where they lie, and they are read one by one, so that no file is ever
//! in memory as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use serde::Deserialize;

use super::{
    Renames, Shapes, WEIGHTS,
    loading::{TensorSource, Values},
    tensors::floats_of,
};
use crate::{Error, Result, text::read_text};

/// The file that says which tensor is in which of several files.
const INDEX: &str = "model.safetensors.index.json";
/// The bytes of a header's length, which are the first of a file.
const LENGTH: u64 = size_of::<u64>() as u64;
/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// More than any header has: the crate's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// Files of tensors, open.
pub(super) struct Shards {
    files: Vec<Shard>,
    /// The file of each tensor, and where it lies there.
    places: BTreeMap<String, (usize, TensorInfo)>,
    /// What should have named a tensor that is missing.
    path: PathBuf,
}

/// A file of tensors.
struct Shard {
    path: PathBuf,
    file: File,
    /// The place of the first tensor's first byte.
    start: u64,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Opens the files of a folder and reads their headers.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] naming the file that is missing, damaged or not what the index says.
    pub fn open(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if whole.is_file() {
            return Self::of_file(&whole);
        }
        if !index.is_file() {
            let message = format!(
                "holds neither {WEIGHTS} nor {INDEX}; files of other kinds, such as pytorch_model.bin, become one by \
                 `save_pretrained(folder, safe_serialization=True)` in Python"
            );
            return Err(Error::data(folder.display().to_string(), message));
        }
        let name = index.display().to_string();
        let Index { weight_map } = serde_json::from_str(&read_text(&index)?)
            .map_err(|error| Error::data(&name, format!("not an index of safetensors files: {error}")))?;
        let mut shards = Self { files: Vec::new(), places: BTreeMap::new(), path: index };
        for file in weight_map.values().collect::<BTreeSet<_>>() {
            if Path::new(file).file_name().is_none_or(|own| own != file.as_str()) {
                return Err(Error::data(&name, format!("`{file}` is no file name in the same folder")));
            }
            shards.add(folder.join(file))?;
        }
        for (tensor, file) in &weight_map {
            let place = shards.places.get(tensor).and_then(|(number, _)| shards.files.get(*number));
            if place.is_none_or(|shard| !shard.path.ends_with(file)) {
                let message = format!("tensor `{tensor}` is missing, and {INDEX} says that it is here");
                return Err(Error::data(folder.join(file).display().to_string(), message));
            }
        }
        Ok(shards)
    }

    /// Opens one file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a file that is damaged or of another kind.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut shards = Self { files: Vec::new(), places: BTreeMap::new(), path: path.to_owned() };
        shards.add(path.to_owned())?;
        Ok(shards)
    }

    /// The shapes of all tensors. `map` names in errors what is said beside them.
    pub fn shapes(&self, map: &Path, renames: &Renames) -> Shapes {
        let shape = |(name, (_, info)): (&String, &(usize, TensorInfo))| (name.clone(), info.shape.clone());
        Shapes {
            path: self.path.display().to_string(),
            map: map.display().to_string(),
            by_name: self.places.iter().map(shape).collect(),
            renames: renames.clone(),
        }
    }

    /// Opens a file and notes where its tensors lie.
    fn add(&mut self, path: PathBuf) -> Result<()> {
        let damaged = |why: String| {
            let message = format!("not a whole safetensors file ({why}); restore it from a copy");
            Error::data(path.display().to_string(), message)
        };
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let size = file.metadata().map_err(Error::io(&path))?.len();
        let mut length = [0; LENGTH as usize];
        file.read_exact(&mut length).map_err(|error| damaged(error.to_string()))?;
        if length.starts_with(ZIP) {
            let message = "is a zip archive, as `torch.save` and `numpy.savez` write them; `save_file` of safetensors.torch or \
                           safetensors.numpy in Python writes its tensors as they are read here";
            return Err(Error::data(path.display().to_string(), message));
        }
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER.min(size) {
            return Err(damaged(format!("a header of {length} bytes")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(|error| damaged(error.to_string()))?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
        let start = LENGTH + length;
        if start + header.data_len() as u64 != size {
            return Err(damaged(format!("{size} bytes, where its header says {}", start + header.data_len() as u64)));
        }
        let number = self.files.len();
        for (name, info) in header.tensors() {
            let place = (number, info.clone());
            if self.places.insert(modern(&name), place).is_some() {
                return Err(Error::data(path.display().to_string(), format!("tensor `{name}` is there twice")));
            }
        }
        self.files.push(Shard { path, file, start });
        Ok(())
    }
}

/// A tensor's name, which files of TensorFlow's days have otherwise for the two parameters of a layer normalisation.
fn modern(name: &str) -> String {
    let new = |old: &str, new: &str| Some(format!("{}{new}", name.strip_suffix(old)?));
    let renamed = new("LayerNorm.gamma", "LayerNorm.weight").or_else(|| new("LayerNorm.beta", "LayerNorm.bias"));
    renamed.unwrap_or_else(|| name.to_owned())
}

impl TensorSource for Shards {
    fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    fn file(&self, tensor: &str) -> String {
        let shard = self.places.get(tensor).and_then(|(number, _)| self.files.get(*number));
        shard.map_or(&self.path, |shard| &shard.path).display().to_string()
    }

    fn read(&mut self, tensor: &str) -> Result<Option<Values>> {
        let Some((number, info)) = self.places.get(tensor) else { return Ok(None) };
        let Some(Shard { path, file, start }) = self.files.get_mut(*number) else { return Ok(None) };
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        file.seek(SeekFrom::Start(*start + from as u64)).map_err(Error::io(&*path))?;
        file.read_exact(&mut bytes).map_err(Error::io(&*path))?;
        let name = path.display().to_string();
        let view = TensorView::new(info.dtype, info.shape.clone(), &bytes)
            .map_err(|error| Error::data(&name, format!("tensor `{tensor}`: {error}")))?;
        floats_of(&name, tensor, &view).map(Some)
    }
}
