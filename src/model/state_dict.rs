//! `state_dict`s of PyTorch's, as safetensors files: read as a model, most of whose sizes their shapes tell, and written from one so
//! that `load_state_dict(strict=True)` takes them.

use std::{collections::BTreeSet, path::Path};

use super::{
    Model, Network, Parameter, TokenModel,
    description::Description,
    loading::{Naming, read_from},
    shards::Shards,
    writing::write_for_pytorch,
};
use crate::{Error, Gpu, Result, files, names::setting, text::Tokenizer};

/// A file of tensors, and what is said of it.
struct StateDict {
    description: Description,
    /// Whether a map says it.
    mapped: bool,
    tensors: Shards,
}

impl StateDict {
    fn open(file: &Path, map: Option<&Path>) -> Result<Self> {
        let description = map.map_or_else(|| Ok(Description::of_default(file)), Description::read)?;
        Ok(Self { description, mapped: map.is_some(), tensors: Shards::of_file(file)? })
    }

    /// The network, with the special tokens of these tokenizers, if there are any.
    fn network(&self, tokenizers: Option<&[Tokenizer; 2]>) -> Result<Network> {
        let shapes = self.tensors.shapes(&self.description.path, &self.description.names);
        let network = self.description.kind()?.of_shapes(&shapes, &self.description.settings(tokenizers)?);
        network.map_err(|error| match error {
            Error::Data { path, message } if !self.mapped => {
                let map = setting("map");
                let read = format!("without {map} it is read as the default model's; {map} says what else it is");
                Error::data(path, format!("{message}; {read}"))
            }
            error => error,
        })
    }

    fn model(mut self, gpu: &Gpu, network: Network) -> Result<TokenModel> {
        let declared = network.parameters();
        let naming = Naming { renames: Some(self.description.names_of(&declared)?), ..Naming::default() };
        let (parameters, _) = read_from(gpu, &declared, &mut self.tensors, naming)?;
        Ok(TokenModel { gpu: gpu.clone(), network, parameters })
    }
}

/// The network of a `state_dict` by the shapes of its tensors and what the JSON map `map` says, without one the default model's.
/// Nothing goes to a device.
///
/// # Errors
/// [`Error::Io`] or [`Error::Data`] as of [`TokenModel::import_state_dict`].
pub fn network_of_state_dict(file: impl AsRef<Path>, map: Option<&Path>) -> Result<Network> {
    let found = StateDict::open(file.as_ref(), map)?;
    found.network(found.description.tokenizers()?.as_ref())
}

impl TokenModel {
    /// Reads a `state_dict` in f32, f16 or bf16 of what the JSON map `map` says, without one the default model's.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] naming the file and the tensor that is missing, unknown or of another shape, or what is wrong
    /// with the map; [`Error::Limit`] for a parameter larger than a binding may be, [`Error::OutOfMemory`] when memory runs out.
    pub fn import_state_dict(gpu: &Gpu, file: impl AsRef<Path>, map: Option<&Path>) -> Result<Self> {
        let found = StateDict::open(file.as_ref(), map)?;
        let network = found.network(found.description.tokenizers()?.as_ref())?;
        found.model(gpu, network)
    }

    /// Writes the parameters as a `state_dict`, whole or not at all: f32, a tensor that layers share under each of its names, as
    /// `load_state_dict(strict=True)` asks for; under the names of the JSON map `map`, if there is one. Shapes do not tell of sharing: a
    /// default model with tied embeddings is tied again where the map that it is read by has `"tie_embeddings": true`.
    ///
    /// # Errors
    /// [`Error::Data`] for what is there already and is no pipe or device, a link too, and for what is no map or not this model's;
    /// [`Error::Io`].
    pub fn export_state_dict(&self, file: impl AsRef<Path>, map: Option<&Path>) -> Result<()> {
        let file = file.as_ref();
        if file.symlink_metadata().is_ok() && !files::is_stream(file) {
            return Err(Error::data(file.display().to_string(), "is there already; give another file, or remove it"));
        }
        let description = map.map_or_else(|| Ok(Description::of_default(file)), Description::read)?;
        let declared = self.network.parameters();
        let renames = description.names_of(&declared)?;
        let names = |name: &str| {
            let shared = declared.iter().filter(|one| one.name == name).flat_map(Parameter::names);
            shared.map(|name| renames.theirs(name)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        write_for_pytorch(file, &self.gpu, &self.parameters, names)
    }
}

impl Model {
    /// As [`TokenModel::import_state_dict`], with the vocabularies of the map; without a map `source.tokenizer.json` and
    /// `target.tokenizer.json` lie beside the file.
    ///
    /// # Errors
    /// As there, and [`Error::Data`] for vocabularies that are missing or of other sizes than the model's, and for a model that reads
    /// no tokens.
    pub fn import_state_dict(gpu: &Gpu, file: impl AsRef<Path>, map: Option<&Path>) -> Result<Self> {
        let file = file.as_ref();
        let wrong = |message: String| Error::data(file.display().to_string(), message);
        let mut found = StateDict::open(file, map)?;
        if !found.mapped {
            found.description = found.description.with_tokenizers_beside();
        }
        let tokenizers = found.description.tokenizers()?;
        let network = found.network(tokenizers.as_ref())?;
        let limits = network.limits();
        if limits.target_vocabulary == 0 {
            return Err(wrong("is of a model of features and not of tokens, which `TokenModel` reads".into()));
        }
        let [source, target] = tokenizers
            .ok_or_else(|| found.description.wrong("says nothing of tokens: give it a `source` and a `target`"))?;
        let sized = [(&source, limits.source_vocabulary), (&target, limits.target_vocabulary)];
        let other = sized.into_iter().find(|(tokenizer, size)| *size > 0 && tokenizer.size() != *size);
        if let Some((tokenizer, size)) = other {
            let given = tokenizer.size();
            return Err(wrong(format!("is of a vocabulary of {size} tokens, and the one given for it has {given}")));
        }
        let TokenModel { gpu, network, parameters } = found.model(gpu, network)?;
        Ok(Self { gpu, network, parameters, source, target })
    }

    /// As [`TokenModel::export_state_dict`].
    ///
    /// # Errors
    /// As there.
    pub fn export_state_dict(&self, file: impl AsRef<Path>, map: Option<&Path>) -> Result<()> {
        TokenModel::from(self).export_state_dict(file, map)
    }
}
