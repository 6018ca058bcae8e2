//! Tensor files: safetensors with the names and layouts of PyTorch's `state_dict`.

use std::{collections::HashMap, path::Path};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Error, Gpu, Result, files, graph::Parameters};

/// Shape and values of each tensor of a file.
pub type TensorsByName = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads every tensor of a safetensors file as f32 (stored as F32, F16 or BF16).
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] for a damaged file or another element type.
pub fn read_tensors(path: &Path) -> Result<TensorsByName> {
    let bytes = files::read(path)?;
    let name = path.display().to_string();
    let file = SafeTensors::deserialize(&bytes).map_err(|error| {
        Error::data(&name, format!("not a whole safetensors file ({error}); restore it from a copy"))
    })?;
    let tensors = file.tensors().into_iter().map(|(tensor, view)| {
        let values = floats(&view).ok_or_else(|| {
            Error::data(&name, format!("tensor `{tensor}` is {:?}; store it as F32, F16 or BF16", view.dtype()))
        })?;
        Ok((tensor, (view.shape().to_vec(), values)))
    });
    tensors.collect()
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

/// Fills `parameters` from a safetensors file that holds exactly these tensors. `tied`: a second name that the file may have for
/// one of them, and that one's name; PyTorch's `state_dict` lists a tied tensor under both.
///
/// # Errors
/// [`Error::Data`] naming the tensor that is missing, unknown or of another shape, or that differs between its two names.
pub fn load_tensors(gpu: &Gpu, parameters: &Parameters, path: &Path, tied: Option<(&str, &str)>) -> Result<()> {
    let mut tensors = read_tensors(path)?;
    let file = path.display().to_string();
    if let Some((second, name)) = tied
        && let Some(values) = tensors.remove(second)
        && tensors.get(name).is_some_and(|first| *first != values)
    {
        let message = format!("tensors `{second}` and `{name}` differ, and config.json says that they are tied");
        return Err(Error::data(&file, message));
    }
    let mut loaded = Vec::new();
    for name in parameters.names() {
        let tensor = parameters.tensor(name).ok_or_else(|| Error::data(&file, format!("`{name}` has no place")))?;
        let (shape, values) =
            tensors.remove(name).ok_or_else(|| Error::data(&file, format!("tensor `{name}` is missing")))?;
        if shape != tensor.shape().dims() {
            let message = format!("tensor `{name}` has shape {shape:?}; config.json asks for {}", tensor.shape());
            return Err(Error::data(&file, message));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let message = format!("tensor `{name}` holds {} at element {at}; a model has finite values", values[at]);
            return Err(Error::data(&file, message));
        }
        loaded.push((tensor, values));
    }
    if let Some(name) = tensors.keys().min() {
        return Err(Error::data(&file, format!("tensor `{name}` does not belong to the model of config.json")));
    }
    loaded.iter().try_for_each(|(tensor, values)| gpu.write(tensor, values))
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
    /// As [`Gpu::read`].
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

/// Writes a safetensors file, whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn write_tensors(path: &Path, tensors: &[StoredTensor], metadata: Option<HashMap<String, String>>) -> Result<()> {
    let fail = |error: safetensors::SafeTensorError| Error::data(path.display().to_string(), error.to_string());
    let views = tensors.iter().map(|StoredTensor { name, shape, bytes }| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view)).map_err(fail)
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    files::write_atomically(path, &safetensors::serialize(views, metadata).map_err(fail)?)
}
