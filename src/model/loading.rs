//! Parameters on a device from the tensors of a checkpoint, read one at a time.

use std::collections::BTreeSet;

use safetensors::SafeTensors;

use super::{
    Parameter, Renames,
    tensors::{floats_of, whole},
    zeros,
};
use crate::{Error, Gpu, Result, Tensor, graph::Parameters};

/// Shape and values of a tensor.
pub(super) type Values = (Vec<usize>, Vec<f32>);

/// The tensors of a checkpoint.
pub(super) trait TensorSource {
    /// The names of all.
    fn names(&self) -> Vec<String>;

    /// The file that holds a tensor, or should hold it, for errors.
    fn file(&self, tensor: &str) -> String;

    /// A tensor's shape and values, if there is one of this name.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] naming file and tensor for an element type that is no number of ours.
    fn read(&mut self, tensor: &str) -> Result<Option<Values>>;
}

/// How a checkpoint's names differ from those of the parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Naming<'a> {
    /// The beginning of a parameter's name that a checkpoint may leave out.
    pub prefix: &'a str,
    /// The ends of names of tensors that no parameter is read from.
    pub left_out: &'a [&'a str],
    /// Parameters that a checkpoint may lack: they are zero then.
    pub may_lack: &'a [&'a str],
    /// What a checkpoint calls otherwise.
    pub renames: Option<&'a Renames>,
}

impl Naming<'_> {
    /// The names under which a checkpoint may have a parameter.
    fn names(&self, parameter: &Parameter) -> Vec<String> {
        let own = parameter.names().flat_map(|name| {
            let bare = name.strip_prefix(self.prefix).filter(|_| !self.prefix.is_empty());
            [Some(name), bare].into_iter().flatten()
        });
        own.map(|name| self.renames.map_or_else(|| name.to_owned(), |renames| renames.theirs(name))).collect()
    }
}

/// Parameters on the device from the bytes of a safetensors file that holds exactly the tensors `declared`; it may have those with
/// other names under each of them. `name` names the file in errors.
///
/// # Errors
/// [`Error::Data`] for a damaged file, and naming the tensor that is missing, unknown or of another shape, or that differs
/// between its two names; [`Error::Limit`] and [`Error::OutOfMemory`] as [`zeros`].
pub fn load_tensors(gpu: &Gpu, declared: &[Parameter], name: &str, bytes: &[u8]) -> Result<Parameters> {
    loaded(gpu, declared, name, &whole(name, bytes)?.0)
}

/// Parameters from a file taken apart.
pub(super) fn loaded(gpu: &Gpu, declared: &[Parameter], file: &str, tensors: &SafeTensors<'_>) -> Result<Parameters> {
    Ok(read_from(gpu, declared, &mut InMemory { file, tensors }, Naming::default())?.0)
}

/// A file in memory.
struct InMemory<'a> {
    file: &'a str,
    tensors: &'a SafeTensors<'a>,
}

impl TensorSource for InMemory<'_> {
    fn names(&self) -> Vec<String> {
        self.tensors.names().into_iter().map(str::to_owned).collect()
    }

    fn file(&self, _: &str) -> String {
        self.file.to_owned()
    }

    fn read(&mut self, tensor: &str) -> Result<Option<Values>> {
        self.tensors.tensor(tensor).ok().map(|view| floats_of(self.file, tensor, &view)).transpose()
    }
}

/// Parameters on the device from a checkpoint that has all of `declared`, under one of the names of each, and nothing else but what
/// it is known to have beside them: the names of that.
///
/// # Errors
/// [`Error::Data`] naming file and tensor: one that is missing, unknown, of another shape or not finite, or that differs between
/// its names; [`Error::Limit`] and [`Error::OutOfMemory`] as [`zeros`].
pub(super) fn read_from(
    gpu: &Gpu,
    declared: &[Parameter],
    source: &mut impl TensorSource,
    naming: Naming<'_>,
) -> Result<(Parameters, Vec<String>)> {
    let parameters = zeros(gpu, declared)?;
    let mut left: BTreeSet<String> = source.names().into_iter().collect();
    for parameter in declared {
        let mut found: Option<(String, Values)> = None;
        for name in naming.names(parameter) {
            if !left.remove(&name) {
                continue;
            }
            let Some(values) = source.read(&name)? else { continue };
            match &found {
                None => found = Some((name, values)),
                Some((_, first)) if *first == values => {}
                Some((first, _)) => {
                    let message =
                        format!("tensors `{name}` and `{first}` differ, and the model has one tensor for both");
                    return Err(Error::data(source.file(&name), message));
                }
            }
        }
        match found {
            Some((name, values)) => {
                put(gpu, &parameter.tensor(&parameters)?, (&source.file(&name), &name), &values)?;
            }
            None if naming.may_lack.contains(&parameter.name.as_str()) => {}
            None => {
                let name = naming.names(parameter).swap_remove(0);
                return Err(Error::data(source.file(&name), format!("tensor `{name}` is missing")));
            }
        }
    }
    let unknown = left.iter().find(|name| !naming.left_out.iter().any(|end| name.ends_with(end)));
    if let Some(name) = unknown {
        let message = format!("tensor `{name}` does not belong to the model");
        return Err(Error::data(source.file(name), message));
    }
    Ok((parameters, left.into_iter().collect()))
}

/// Writes the values of the tensor `name` of `file` to the device.
fn put(gpu: &Gpu, tensor: &Tensor, (file, name): (&str, &str), (shape, values): &Values) -> Result<()> {
    if shape != tensor.shape().dims() {
        let message = format!("tensor `{name}` has shape {shape:?}; the model asks for {}", tensor.shape());
        return Err(Error::data(file, message));
    }
    if let Some((at, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        let message = format!("tensor `{name}` holds {value} at element {at}; a model has finite values");
        return Err(Error::data(file, message));
    }
    gpu.write(tensor, values)?;
    // Until a submit the values wait in memory of their own, all of a model's if it came to that.
    gpu.pace(Some(gpu.queue().submit([])))
}
