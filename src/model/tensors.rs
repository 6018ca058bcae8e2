//! Tensor files: safetensors with the names and layouts of PyTorch's `state_dict`, as bytes in memory and, with feature `text`,
//! on disk.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, View},
};

#[cfg(feature = "text")]
use crate::files;
use crate::{Error, Gpu, Result, graph::Parameters};

/// Shape and values of each tensor of a file.
pub type TensorsByName = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// The metadata of a tensor file: names and values beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// The one entry of a file's metadata, which holds all of ours as JSON: of several, the crate would let chance decide the order.
pub(super) const ENTRY: &str = "softalign";
/// The key in that entry for the checksum of all else in the file.
pub(super) const CHECKSUM: &str = "checksum";
/// The entry that PyTorch's own files have.
const FORMAT: &str = "format";

/// Takes the bytes of the safetensors file `name` apart, its checksum verified. Files from elsewhere have none.
///
/// # Errors
/// [`Error::Data`] for a damaged file.
pub(crate) fn whole<'a>(name: &str, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, Metadata)> {
    let damaged = |why: &str| {
        let message = format!("not a whole safetensors file ({why}); restore it from a copy");
        Error::data(name, message)
    };
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error.to_string()))?;
    let entries = header.metadata().as_ref();
    let Some(entry) = entries.and_then(|entries| entries.get(ENTRY)) else {
        // With a flipped bit in its name, ours would be an entry that nobody knows.
        let foreign = entries.is_none_or(|entries| entries.keys().all(|key| key == FORMAT));
        return if foreign { Ok((file, Metadata::new())) } else { Err(damaged("its checksum is missing")) };
    };
    let mut metadata: Metadata = serde_json::from_str(entry).map_err(|error| damaged(&error.to_string()))?;
    match metadata.remove(CHECKSUM) {
        Some(stated) if stated == checksum(&file.tensors(), &metadata) => Ok((file, metadata)),
        _ => Err(damaged("its checksum says that something in it has changed")),
    }
}

/// CRC-32C of names, types, shapes and values of the tensors, and of the metadata.
pub(super) fn checksum<N: AsRef<str>, V: View>(tensors: &[(N, V)], metadata: &Metadata) -> String {
    let mut sum = 0;
    // Each with its length before it, so that what one part loses the next cannot make up for.
    let mut add = |bytes: &[u8]| {
        sum = crc32c::crc32c_append(sum, &(bytes.len() as u64).to_le_bytes());
        sum = crc32c::crc32c_append(sum, bytes);
    };
    let mut tensors: Vec<_> = tensors.iter().collect();
    tensors.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    for (name, view) in tensors {
        add(name.as_ref().as_bytes());
        add(format!("{:?} {:?}", view.dtype(), view.shape()).as_bytes());
        add(&view.data());
    }
    metadata.iter().flat_map(|(key, value)| [key, value]).for_each(|text| add(text.as_bytes()));
    format!("{sum:08x}")
}

/// Reads every tensor of a safetensors file as f32 (stored as F32, F16 or BF16). Feature `text`.
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] for a damaged file or another element type.
#[cfg(feature = "text")]
pub fn read_tensors(path: &std::path::Path) -> Result<TensorsByName> {
    tensors_of(&path.display().to_string(), &files::read(path)?)
}

/// Every tensor of a safetensors file as f32 (stored as F32, F16 or BF16), from its bytes. `name` names the file in errors.
///
/// # Errors
/// [`Error::Data`] for a damaged file or another element type.
pub fn tensors_of(name: &str, bytes: &[u8]) -> Result<TensorsByName> {
    values(name, &whole(name, bytes)?.0)
}

fn values(name: &str, file: &SafeTensors<'_>) -> Result<TensorsByName> {
    let tensors = file.tensors().into_iter();
    tensors.map(|(tensor, view)| floats_of(name, &tensor, &view).map(|values| (tensor, values))).collect()
}

/// Shape and values of the tensor `tensor` of the file `name`.
///
/// # Errors
/// [`Error::Data`] for an element type that is none of F32, F16 and BF16.
pub(super) fn floats_of(name: &str, tensor: &str, view: &TensorView<'_>) -> Result<(Vec<usize>, Vec<f32>)> {
    let values = floats(view).ok_or_else(|| {
        Error::data(name, format!("tensor `{tensor}` is {:?}; store it as F32, F16 or BF16", view.dtype()))
    })?;
    Ok((view.shape().to_vec(), values))
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let (halves, _) = view.data().as_chunks::<2>();
    let (words, _) = view.data().as_chunks::<4>();
    match view.dtype() {
        Dtype::F32 => Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect()),
        Dtype::F16 => Some(halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect()),
        Dtype::BF16 => Some(halves.iter().map(|half| bf16::from_le_bytes(*half).to_f32()).collect()),
        _ => None,
    }
}

/// A tensor as a file holds it: f32, row-major.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its values, little-endian.
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    /// Reads all of `parameters` back from the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed.
    pub fn of_parameters(gpu: &Gpu, parameters: &Parameters) -> Result<Vec<Self>> {
        let tensors = parameters.names().iter().filter_map(|name| Some((name, parameters.tensor(name)?)));
        tensors
            .map(|(name, tensor)| {
                let shape = tensor.shape().dims().to_vec();
                Ok(Self { name: name.clone(), shape, bytes: gpu.read(&tensor)? })
            })
            .collect()
    }
}
