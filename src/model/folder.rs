//! A model folder: `config.json`, `model.safetensors`, `source.tokenizer.json`, `target.tokenizer.json`.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use super::{
    Answers, Kind, Metadata, Network, Specials, TokenModel, WEIGHTS, first_values,
    loading::loaded,
    tensors::whole,
    token_model::{CONFIG, check_saved, checksum_of},
    writing::write_parameters,
};
use crate::{
    Error, Gpu, Result, files,
    graph::Parameters,
    names::setting,
    text::{Tokenizer, escaped, text_of},
};

/// A model with its parameters on a device and its tokenizers. Feature `text`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model {
    /// The device that holds the parameters.
    pub gpu: Gpu,
    /// The architecture at its sizes.
    pub network: Network,
    /// The parameters, named as in PyTorch.
    pub parameters: Parameters,
    /// Cuts sources into tokens.
    pub source: Tokenizer,
    /// Cuts targets into tokens, and joins them.
    pub target: Tokenizer,
}

/// The file of the tokenizer that cuts sources.
pub(crate) const SOURCE: &str = "source.tokenizer.json";
/// The file of the tokenizer of targets.
pub(crate) const TARGET: &str = "target.tokenizer.json";

/// The files of a model folder in memory, each by its name in [`Model::FILES`].
pub type ModelFiles = BTreeMap<String, Vec<u8>>;

/// The files of a model folder beside the parameters.
const OTHERS: [&str; 3] = [CONFIG, SOURCE, TARGET];

/// Where the files of a model are kept.
#[derive(Clone, Copy)]
enum Place<'a> {
    Folder(&'a Path),
    Memory(&'a ModelFiles),
}

impl<'a> Place<'a> {
    /// What errors call a file.
    fn name(self, file: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(file).display().to_string(),
            Self::Memory(_) => file.to_owned(),
        }
    }

    fn read(self, file: &str) -> Result<Cow<'a, [u8]>> {
        match self {
            Self::Folder(folder) => files::read(&folder.join(file)).map(Cow::Owned),
            Self::Memory(files) => match files.get(file) {
                Some(bytes) => Ok(Cow::Borrowed(bytes)),
                None => Err(Error::data(file, "is missing; a model's files belong together")),
            },
        }
    }
}

impl Model {
    /// Every file of a model folder; a model that reads no source has no `source.tokenizer.json`.
    pub const FILES: [&str; 4] = [WEIGHTS, CONFIG, SOURCE, TARGET];

    /// A new model with first values drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Limit`] for a parameter larger than a binding may be, [`Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, network: Network, source: Tokenizer, target: Tokenizer, seed: u64) -> Result<Self> {
        let parameters = first_values(gpu, &network.parameters(), seed)?;
        Ok(Self { gpu: gpu.clone(), network, parameters, source, target })
    }

    /// Loads a model folder.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] naming the file that is missing, damaged or does not fit the others.
    pub fn load(gpu: &Gpu, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG);
        if !path.is_file() {
            let message = "holds no config.json, so it is not a model folder; `softalign train` writes one";
            return Err(Error::data(folder.display().to_string(), message));
        }
        Self::load_from(gpu, Place::Folder(folder))
    }

    /// Loads the files of a model folder that are in memory, fetched from a server or a browser's cache.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file that is missing, damaged or does not fit the others.
    pub fn load_files(gpu: &Gpu, files: &ModelFiles) -> Result<Self> {
        Self::load_from(gpu, Place::Memory(files))
    }

    fn load_from(gpu: &Gpu, place: Place<'_>) -> Result<Self> {
        let (bytes, weights) = (place.read(WEIGHTS)?, place.name(WEIGHTS));
        let (tensors, metadata) = whole(&weights, &bytes)?;
        check_files(place, &metadata)?;
        let (network, source, target) = Self::parts_from(place)?;
        let parameters = loaded(gpu, &network.parameters(), &weights, &tensors)?;
        Ok(Self { gpu: gpu.clone(), network, parameters, source, target })
    }

    /// What a model folder holds but for the parameters: the architecture at its sizes, and the tokenizers of sources and targets.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] naming the file that is missing, damaged or does not fit the others.
    #[cfg(feature = "train")]
    pub(crate) fn parts(folder: &Path) -> Result<(Network, Tokenizer, Tokenizer)> {
        Self::parts_from(Place::Folder(folder))
    }

    fn parts_from(place: Place<'_>) -> Result<(Network, Tokenizer, Tokenizer)> {
        let (config, name) = (place.read(CONFIG)?, place.name(CONFIG));
        let network = Kind::read(text_of(&name, &config)?, &name)?;
        let limits = network.limits();
        // A class or a place in a text is no token: then both sides are cut alike.
        let (specials, targets) = match network.answers() {
            Answers::Texts | Answers::Filled { .. } => (limits.specials, limits.target_vocabulary),
            Answers::Classes => (Specials::FIRST, limits.target_vocabulary),
            Answers::Spans | Answers::None => (limits.specials, limits.source_vocabulary),
        };
        let target = tokenizer((place, TARGET), specials, targets)?;
        let source = match limits.reads_source() {
            true => tokenizer((place, SOURCE), network.source_specials(), limits.source_vocabulary)?,
            false => target.clone(),
        };
        Ok((network, source, target))
    }

    /// The tokens of a source for the encoder, with the special tokens around it ([`Tokenizer::framed`]).
    ///
    /// # Errors
    /// [`Error::Data`] for a text that the tokenizer refuses or that is longer than the model's `max_length`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = match self.network.answers() {
            Answers::Filled { .. } => self.source.encode_masked(text)?,
            _ => self.source.encode_source(text)?,
        };
        let (length, longest) = (tokens.len(), self.network.limits().max_length);
        if length > longest {
            let start: String = escaped(text).chars().take(40).collect();
            let message = format!(
                "{length} tokens with its <eos>, and this model takes {longest}; shorten it, or train with a larger {}",
                setting("max_length")
            );
            return Err(Error::data(format!("the source that starts `{start}`"), message));
        }
        Ok(tokens)
    }

    /// The tokenizers by the names of their files; a model that reads no source has one alone.
    pub(crate) fn tokenizers(&self) -> impl Iterator<Item = (&'static str, &Tokenizer)> {
        let source = self.network.limits().reads_source().then_some((SOURCE, &self.source));
        source.into_iter().chain([(TARGET, &self.target)])
    }

    /// Writes what a model folder holds but for the parameters.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn save_parts(&self, folder: &Path) -> Result<()> {
        files::write_atomically(&folder.join(CONFIG), self.network.config()?.as_bytes())?;
        self.tokenizers().try_for_each(|(name, tokenizer)| tokenizer.save(folder.join(name)))
    }

    /// Writes the model folder, each file whole or not at all, the parameters last.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        self.save_parts(folder)?;
        let others = [CONFIG].into_iter().chain(self.tokenizers().map(|(name, _)| name));
        let sums = others.map(|name| Ok((name.to_owned(), checksum(&folder.join(name))?)));
        let sums = sums.collect::<Result<Metadata>>()?;
        write_parameters(&folder.join(WEIGHTS), &self.gpu, &self.parameters, sums)
    }
}

impl TokenModel {
    /// Writes what [`TokenModel::load`] reads, `config.json` and `model.safetensors`, into a folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let (folder, config) = (folder.as_ref(), self.network.config()?);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        files::write_atomically(&folder.join(CONFIG), config.as_bytes())?;
        let sums = Metadata::from([(CONFIG.to_owned(), checksum_of(config.as_bytes()))]);
        write_parameters(&folder.join(WEIGHTS), &self.gpu, &self.parameters, sums)
    }
}

/// Checks the files beside the parameters: with another tokenizer a model would write nonsense.
fn check_files(place: Place<'_>, metadata: &Metadata) -> Result<()> {
    OTHERS
        .iter()
        .filter(|name| metadata.contains_key(**name))
        .try_for_each(|name| check_saved(metadata, name, &place.name(name), &place.read(name)?))
}

impl From<&Model> for TokenModel {
    fn from(Model { gpu, network, parameters, .. }: &Model) -> Self {
        Self { gpu: gpu.clone(), network: network.clone(), parameters: parameters.clone() }
    }
}

/// CRC-32C of a file.
pub(crate) fn checksum(path: &Path) -> Result<String> {
    Ok(checksum_of(&files::read(path)?))
}

/// The tokenizer of a file, for a model with a vocabulary of `size`. Those of models from elsewhere may have fewer tokens.
fn tokenizer((place, file): (Place<'_>, &str), specials: Specials, size: usize) -> Result<Tokenizer> {
    let name = place.name(file);
    let tokenizer = Tokenizer::of_json_for(&name, &place.read(file)?, specials)?;
    let own = tokenizer.size();
    if own == size || (specials != Specials::FIRST && own < size) {
        return Ok(tokenizer);
    }
    let message = format!("holds {own} tokens, and config.json says {size}; use the files of one model");
    Err(Error::data(name, message))
}
