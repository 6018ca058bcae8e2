//! `state_dict`s of PyTorch's, as safetensors files: read as a model, most of whose sizes their shapes tell, and written from one so
//! that `load_state_dict(strict=True)` takes them.

use std::path::Path;

use super::{
    Model, Parameter,
    description::Description,
    loading::{Naming, read_from},
    shards::Shards,
    writing::write_for_pytorch,
};
use crate::{Error, Gpu, Result, text::Tokenizer};

impl Model {
    /// Reads a `state_dict` in f32, f16 or bf16 of what the JSON map `map` says; without one it is the default model's, and
    /// `source.tokenizer.json` and `target.tokenizer.json` lie beside it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] naming the file and the tensor that is missing, unknown or of another shape, or what is wrong
    /// with the map; [`Error::Limit`] for a parameter larger than a binding may be, [`Error::OutOfMemory`] when memory runs out.
    pub fn import_state_dict(gpu: &Gpu, file: impl AsRef<Path>, map: Option<&Path>) -> Result<Self> {
        let file = file.as_ref();
        let description = map.map_or_else(|| Ok(Description::beside(file)), Description::read)?;
        let mut tensors = Shards::of_file(file)?;
        let tokenizers = description.tokenizers()?;
        let shapes = tensors.shapes(&description.names);
        let network = description.kind()?.of_shapes(&shapes, &description.settings(&tokenizers)?)?;
        let limits = network.limits();
        let sizes = [limits.source_vocabulary, limits.target_vocabulary];
        for (tokenizer, size) in tokenizers.iter().zip(sizes).filter(|(_, size)| *size > 0) {
            check_size(&shapes.path, tokenizer, size)?;
        }
        let naming = Naming { renames: Some(&description.names), ..Naming::default() };
        let (parameters, _) = read_from(gpu, &network.parameters(), &mut tensors, naming)?;
        let [source, target] = tokenizers;
        Ok(Self { gpu: gpu.clone(), network, parameters, source, target })
    }

    /// Writes the parameters as a `state_dict`, whole or not at all: f32, a tensor that layers share under each of its names, as
    /// `load_state_dict(strict=True)` asks for; under the names of the JSON map `map`, if there is one.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is there already, and for what is no map; [`Error::Io`].
    pub fn export_state_dict(&self, file: impl AsRef<Path>, map: Option<&Path>) -> Result<()> {
        let file = file.as_ref();
        if file.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Err(Error::data(file.display().to_string(), "is there already; give another file, or remove it"));
        }
        let renames = map.map(Description::read).transpose()?.map(|map| map.names).unwrap_or_default();
        let declared = self.network.parameters();
        let names = |name: &str| {
            let shared = declared.iter().filter(|one| one.name == name).flat_map(|one: &Parameter| &one.aliases);
            [name].into_iter().chain(shared.map(String::as_str)).map(|name| renames.theirs(name)).collect()
        };
        write_for_pytorch(file, &self.gpu, &self.parameters, names)
    }
}

/// Checks that a model has a row for each token.
fn check_size(path: &str, tokenizer: &Tokenizer, size: usize) -> Result<()> {
    if tokenizer.size() == size {
        return Ok(());
    }
    let message = format!("is of a vocabulary of {size} tokens, and the one given for it has {}", tokenizer.size());
    Err(Error::data(path, message))
}
