//! Folders of Hugging Face's: `config.json`, `model.safetensors` or its shards, `tokenizer.json`. Read as a model, and written from
//! one so that `from_pretrained` loads it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    Answers, Import, Learns, Model, Network, Specials, TokenModel, WEIGHTS,
    folder::TARGET,
    loading::{Naming, read_from},
    shards::Shards,
    writing::write_for_pytorch,
};
use crate::{
    Error, Gpu, Result, files,
    text::{Tokenizer, read_text},
};

/// The file of the settings, here as there.
const CONFIG: &str = "config.json";
/// The end of the names of their classes for models that tell texts apart.
const CLASSIFIER: &str = "ForSequenceClassification";
/// Where newer folders have the special tokens of texts that a model writes.
const GENERATION: &str = "generation_config.json";
/// The file of the tokenizer.
const TOKENIZER: &str = "tokenizer.json";
/// The settings that either of the first two may have.
const OF_GENERATION: [&str; 4] = ["bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id"];

impl TokenModel {
    /// Reads the configuration and the parameters of a Hugging Face folder, those in f16 and bf16 as f32.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] naming the file, the setting or the tensor that is missing, damaged or of no model here;
    /// [`Error::Limit`] for a parameter larger than a binding may be, [`Error::OutOfMemory`] when memory runs out.
    pub fn import(gpu: &Gpu, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let none = u32::MAX;
        Self::read_from(gpu, folder, network(folder, Specials { pad: none, bos: none, eos: none, unk: none }, None)?)
    }

    fn read_from(gpu: &Gpu, folder: &Path, network: Network) -> Result<Self> {
        let mut shards = Shards::open(folder)?;
        // A model that they do not have has nothing but its parameters.
        let counterpart = network.counterpart().ok();
        let naming = counterpart.as_ref().map_or(Naming::default(), |theirs| Naming {
            prefix: theirs.prefix,
            left_out: theirs.left_out,
            may_lack: theirs.may_lack,
            renames: None,
        });
        let declared = network.parameters();
        let (parameters, unread) = read_from(gpu, &declared, &mut shards, naming)?;
        if !unread.is_empty() {
            tracing::info!("{}: not read, as the model has no use for them: {}", folder.display(), unread.join(", "));
        }
        Ok(Self { gpu: gpu.clone(), network, parameters })
    }
}

impl Model {
    /// Reads a Hugging Face folder with its tokenizer, whose ids, special tokens among them, are the model's from then on.
    ///
    /// # Errors
    /// As [`TokenModel::import`], and [`Error::Data`] for a folder without a `tokenizer.json`, or one with more tokens than the model.
    pub fn import(gpu: &Gpu, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        expect(folder, CONFIG, "it is not a folder of Hugging Face's")?;
        let python = "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` in Python writes one";
        let path = expect(folder, TOKENIZER, python)?;
        let plain = network(folder, Tokenizer::stated_specials(&path)?, Tokenizer::stated_mask(&path)?)?;
        let classes = class_names(folder)?.map(|names| Tokenizer::of_classes(&names)).transpose()?;
        let network = match &classes {
            Some(names) => plain.taught(Learns::Classes, names.size())?,
            None => plain,
        };
        let limits = network.limits();
        let tokenizer = |path: &Path, size: usize| {
            let tokenizer = Tokenizer::load_for(path, limits.specials)?;
            if tokenizer.size() <= size {
                return Ok(tokenizer);
            }
            let message = format!("its ids go up to {}, and {CONFIG} has {size} tokens", tokenizer.size() - 1);
            Err(Error::data(path.display().to_string(), message))
        };
        let alone = if limits.reads_source() { limits.source_vocabulary } else { limits.target_vocabulary };
        let source = tokenizer(&path, alone)?;
        let other = folder.join(TARGET);
        let target = match (classes, other.is_file()) {
            (Some(names), _) => names,
            (None, true) => tokenizer(&other, limits.target_vocabulary)?,
            (None, false) => source.clone(),
        };
        let TokenModel { gpu, network, parameters } = TokenModel::read_from(gpu, folder, network)?;
        Ok(Self { gpu, network, parameters, source, target })
    }

    /// Writes a folder that `from_pretrained` of Hugging Face's `transformers` loads, whole or not at all: settings, parameters in f32
    /// and the tokenizer under the names that they have there. Where targets have a tokenizer of their own, it stands beside as
    /// `target.tokenizer.json`, which [`Model::import`] alone knows of.
    ///
    /// # Errors
    /// [`Error::Data`] for a model that Hugging Face does not have, naming the setting, and for a folder that is there already;
    /// [`Error::Io`].
    pub fn export(&self, folder: impl AsRef<Path>) -> Result<()> {
        let counterpart = self.network.counterpart()?;
        files::write_folder(folder.as_ref(), |folder| {
            let config = match self.network.answers() {
                Answers::Classes => with_class_names(&counterpart.config, &self.target)?,
                _ => counterpart.config.clone(),
            };
            files::write_atomically(&folder.join(CONFIG), config.as_bytes())?;
            let tokenizer = folder.join(TOKENIZER);
            if !self.network.limits().reads_source() {
                // A prompt goes on: nothing stands behind it.
                self.target.save(tokenizer)?;
            } else {
                self.source.save_framed(tokenizer)?;
                if self.network.answers() == Answers::Texts && !self.target.is_same(&self.source) {
                    self.target.save(folder.join(TARGET))?;
                }
            }
            let theirs = |name: &str| vec![counterpart.name(name).to_owned()];
            write_for_pytorch(&folder.join(WEIGHTS), &self.gpu, &self.parameters, theirs)
        })
    }
}

/// The path of a file that the folder must have; `consequence` follows where it does not.
fn expect(folder: &Path, name: &str, consequence: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let missing = || Error::data(folder.display().to_string(), format!("holds no {name}; {consequence}"));
    if path.is_file() { Ok(path) } else { Err(missing()) }
}

/// The settings in a file.
fn settings(path: &Path) -> Result<Map<String, Value>> {
    let wrong = |error| Error::data(path.display().to_string(), format!("not a configuration: {error}"));
    serde_json::from_str(&read_text(path)?).map_err(wrong)
}

/// The names of the classes that a folder's model tells apart, in their order, if that is what it does and it names them.
fn class_names(folder: &Path) -> Result<Option<Vec<String>>> {
    let path = folder.join(CONFIG);
    let settings = settings(&path)?;
    let class = settings.get("architectures").and_then(|all| all.get(0)?.as_str());
    let labels = settings.get("id2label").and_then(Value::as_object);
    let Some(labels) = labels.filter(|_| class.is_some_and(|class| class.ends_with(CLASSIFIER))) else {
        return Ok(None);
    };
    let name = |number: usize| labels.get(&number.to_string()).and_then(Value::as_str).map(str::to_owned);
    let names: Option<Vec<String>> = (0..labels.len()).map(name).collect();
    names.map(Some).ok_or_else(|| {
        let message = "`id2label` does not name the classes from 0 on";
        Error::data(path.display().to_string(), message)
    })
}

/// A configuration of theirs with the names of classes.
fn with_class_names(config: &str, names: &Tokenizer) -> Result<String> {
    let of_json = |error: serde_json::Error| Error::data(CONFIG, error.to_string());
    let mut settings: Map<String, Value> = serde_json::from_str(config).map_err(of_json)?;
    let names: Vec<String> = names.words().into_iter().map(|id| names.piece(id)).collect();
    let of_id = names.iter().enumerate().map(|(id, name)| (id.to_string(), Value::from(name.as_str())));
    let of_name = names.iter().enumerate().map(|(id, name)| (name.clone(), Value::from(id)));
    settings.insert("id2label".into(), Value::Object(of_id.collect()));
    settings.insert("label2id".into(), Value::Object(of_name.collect()));
    serde_json::to_string_pretty(&settings).map_err(of_json)
}

/// The network that a folder's configuration describes. What it does not say of the special tokens, the file of generation does,
/// or the tokenizer.
fn network(folder: &Path, stated: Specials, mask: Option<u32>) -> Result<Network> {
    let path = expect(folder, CONFIG, "it is not a folder of Hugging Face's")?;
    let name = path.display().to_string();
    let mut found = settings(&path)?;
    let generation = folder.join(GENERATION);
    let mut further = if generation.is_file() { settings(&generation)? } else { Map::new() };
    further.retain(|name, value| OF_GENERATION.contains(&name.as_str()) && value.is_number());
    let known = [("bos_token_id", stated.bos), ("eos_token_id", stated.eos), ("unk_token_id", stated.unk)];
    let known = known.into_iter().chain(mask.map(|mask| ("mask_token_id", mask)));
    let known = known.filter(|(_, id)| *id != u32::MAX).map(|(name, id)| (name.to_owned(), id.into()));
    for (name, value) in further.into_iter().chain(known) {
        if found.get(&name).is_none_or(Value::is_null) {
            found.insert(name, value);
        }
    }
    let text = Value::Object(found).to_string();
    Import::of(&text, &name)?.network(&text, &name)
}
