//! Tensor files written to disk: this crate's own, with a checksum, and those of PyTorch's.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, fmt::Display, path::Path};

use safetensors::{
    Dtype, SafeTensorError,
    tensor::{TensorView, View},
};

use super::{
    Metadata, StoredTensor,
    tensors::{CHECKSUM, ENTRY, checksum},
};
use crate::{Error, Gpu, Result, Tensor, files, gpu::ELEMENT, graph::Parameters};

/// Writes a safetensors file, whole or not at all, with a checksum in its metadata. Feature `text`.
///
/// # Errors
/// [`Error::Io`].
pub fn write_tensors(path: &Path, tensors: &[StoredTensor], metadata: Metadata) -> Result<()> {
    let views = tensors.iter().map(|StoredTensor { name, shape, bytes }| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        let view = view.map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = summed(path, &views, metadata)?;
    files::replace(path, |made| write(made, path, views, metadata))
}

/// Writes a model's parameters as [`write_tensors`] does. They are read from the device one by one.
///
/// # Errors
/// [`Error::Io`]; [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed.
pub(super) fn write_parameters(path: &Path, gpu: &Gpu, parameters: &Parameters, metadata: Metadata) -> Result<()> {
    let failed = RefCell::new(None);
    let views = OnDevice::all(gpu, parameters, &failed);
    let metadata = summed(path, &views, metadata)?;
    files::replace(path, |made| write(made, path, views, metadata).and(failed.take().map_or(Ok(()), Err)))
}

/// Writes a model's parameters as a file of PyTorch's, each under the names that `names` has for its own.
///
/// # Errors
/// Those of [`write_parameters`].
pub(super) fn write_for_pytorch(
    path: &Path,
    gpu: &Gpu,
    parameters: &Parameters,
    names: impl Fn(&str) -> Vec<String>,
) -> Result<()> {
    let failed = RefCell::new(None);
    let own = OnDevice::all(gpu, parameters, &failed).into_iter();
    let views = own.flat_map(|(name, view)| names(name).into_iter().map(move |name| (name, view.clone()))).collect();
    // Without this entry, which says that PyTorch's layouts are meant, `from_pretrained` refuses a file.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    files::replace(path, |made| write(made, path, views, metadata).and(failed.take().map_or(Ok(()), Err)))
}

/// The metadata of a file of this crate's, with the checksum of it and of the tensors.
fn summed<V: View>(path: &Path, views: &[(&str, V)], metadata: Metadata) -> Result<HashMap<String, String>> {
    let sum = checksum(views, &metadata);
    let all: Metadata = metadata.into_iter().chain([(CHECKSUM.to_owned(), sum)]).collect();
    let entry =
        serde_json::to_string(&all).map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
    Ok(HashMap::from([(ENTRY.to_owned(), entry)]))
}

/// Writes a file at `made` that becomes `path`.
fn write<N: AsRef<str> + Ord + Display, V: View>(
    made: &Path,
    path: &Path,
    views: Vec<(N, V)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    safetensors::serialize_to_file(views, Some(metadata), made).map_err(|error| match error {
        SafeTensorError::IoError(error) => Error::io(path)(error),
        error => Error::data(path.display().to_string(), error.to_string()),
    })
}

/// A parameter on the device, read each time that somebody looks.
#[derive(Clone)]
struct OnDevice<'a> {
    gpu: &'a Gpu,
    tensor: Tensor,
    /// What has kept one from being read: a view cannot say so itself.
    failed: &'a RefCell<Option<Error>>,
}

impl<'a> OnDevice<'a> {
    fn all<'p>(gpu: &'a Gpu, parameters: &'p Parameters, failed: &'a RefCell<Option<Error>>) -> Vec<(&'p str, Self)> {
        let tensors = parameters.names().iter().filter_map(|name| Some((name.as_str(), parameters.tensor(name)?)));
        tensors.map(|(name, tensor)| (name, Self { gpu, tensor, failed })).collect()
    }
}

impl View for OnDevice<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape().dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.gpu.read(&self.tensor).map_or_else(
            |error| {
                self.failed.replace(Some(error));
                vec![0; self.data_len()].into()
            },
            Cow::Owned,
        )
    }

    fn data_len(&self) -> usize {
        self.tensor.elements() * ELEMENT as usize
    }
}
