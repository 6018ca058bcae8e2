//! What the tensors of a `state_dict` do not tell of their model: a map in JSON.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Map;

use super::{
    Kind, Parameter, Renames, Specials,
    folder::{SOURCE, TARGET},
    kind::Settings,
};
use crate::{
    Error, Result,
    text::{SPECIALS, TokenUnit, Tokenizer, read_text},
};

/// No special token at all.
const NONE: Specials = Specials { pad: u32::MAX, bos: u32::MAX, eos: u32::MAX, unk: u32::MAX };

/// A map: the architecture, vocabularies, names that the file has in place of the model's, and fields of the architecture's
/// `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    /// What names the map in errors; paths in it start at its folder.
    #[serde(skip)]
    pub path: PathBuf,
    #[serde(default = "default_architecture")]
    architecture: String,
    source: Option<Vocabulary>,
    target: Option<Vocabulary>,
    #[serde(default)]
    pub names: Renames,
    #[serde(flatten)]
    settings: Settings,
}

/// A vocabulary: the path of a `tokenizer.json`, or the tokens by their ids and the unit that texts are cut into. Special tokens are
/// called as this crate calls them, where it is not said otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vocabulary {
    tokenizer: Option<PathBuf>,
    tokens: Option<Vec<String>>,
    unit: Option<TokenUnit>,
    pad: Option<String>,
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
}

fn default_architecture() -> String {
    Kind::DEFAULT.name.to_owned()
}

impl Description {
    /// The map in a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |error| Error::data(path.display().to_string(), format!("not a map of a state_dict: {error}"));
        Ok(Self { path: path.to_owned(), ..serde_json::from_str(&read_text(path)?).map_err(wrong)? })
    }

    /// That of a file of the default model.
    pub fn of_default(file: &Path) -> Self {
        Self {
            path: file.to_owned(),
            architecture: default_architecture(),
            source: None,
            target: None,
            names: Renames::default(),
            settings: Map::new(),
        }
    }

    /// The same with the tokenizers of a model folder, which lie beside it.
    pub fn with_tokenizers_beside(self) -> Self {
        let [source, target] =
            [SOURCE, TARGET].map(|name| Some(Vocabulary { tokenizer: Some(name.into()), ..Vocabulary::default() }));
        Self { source, target, ..self }
    }

    /// The architecture.
    ///
    /// # Errors
    /// [`Error::Data`] that lists the names there are.
    pub fn kind(&self) -> Result<&'static Kind> {
        Kind::named(&self.architecture).map_err(|error| self.wrong(&error.to_string()))
    }

    /// The tokenizers of sources and targets, if they are given; a model of one vocabulary has one for both.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a vocabulary that is none.
    pub fn tokenizers(&self) -> Result<Option<[Tokenizer; 2]>> {
        let given = |vocabulary: &Option<Vocabulary>| vocabulary.as_ref().map(|one| self.tokenizer(one)).transpose();
        Ok(match (given(&self.source)?, given(&self.target)?) {
            (Some(source), Some(target)) => Some([source, target]),
            (one, other) => one.or(other).map(|one| [one.clone(), one]),
        })
    }

    /// The settings, with the ids of the special tokens of these tokenizers that are not this crate's own.
    ///
    /// # Errors
    /// [`Error::Data`] for ids that JSON does not have.
    pub fn settings(&self, tokenizers: Option<&[Tokenizer; 2]>) -> Result<Settings> {
        let mut settings = self.settings.clone();
        let Some([source, target]) = tokenizers else { return Ok(settings) };
        let [source, target] = [source, target].map(Tokenizer::specials);
        let further = [("source_specials", source, target), ("specials", target, Specials::FIRST)];
        for (name, specials, _) in further.into_iter().filter(|(_, specials, usual)| specials != usual) {
            let ids = serde_json::to_value(specials).map_err(|error| self.wrong(&error.to_string()))?;
            settings.insert(name.to_owned(), ids);
        }
        Ok(settings)
    }

    /// The file's names for a model of these parameters.
    ///
    /// # Errors
    /// [`Error::Data`] for an entry that renames none of them, and for one name of two.
    pub fn names_of(&self, declared: &[Parameter]) -> Result<&Renames> {
        self.names.fault(declared).map_or(Ok(&self.names), |fault| Err(self.wrong(&fault)))
    }

    fn tokenizer(&self, vocabulary: &Vocabulary) -> Result<Tokenizer> {
        match (&vocabulary.tokenizer, &vocabulary.tokens, &vocabulary.unit) {
            (Some(path), None, None) => {
                let path = self.path.with_file_name("").join(path);
                let bare = Tokenizer::load_for(&path, NONE)?;
                Tokenizer::load_for(&path, self.specials(vocabulary, |token| bare.id(token))?)
            }
            (None, Some(tokens), Some(unit)) => {
                let place = |token: &str| tokens.iter().position(|one| one == token).map(|place| place as u32);
                let specials = self.specials(vocabulary, place)?;
                Tokenizer::listed(unit, tokens.clone(), specials).map_err(|error| self.wrong(&error.to_string()))
            }
            _ => {
                Err(self
                    .wrong("a vocabulary is a `tokenizer`, the path of a tokenizer.json, or `tokens` and their `unit`"))
            }
        }
    }

    /// The ids of a vocabulary's special tokens. `id` has that of a token.
    fn specials(&self, vocabulary: &Vocabulary, id: impl Fn(&str) -> Option<u32>) -> Result<Specials> {
        let find = |stated: &Option<String>, usual: &str| match stated {
            None => Ok(id(usual).unwrap_or(u32::MAX)),
            Some(token) => id(token).ok_or_else(|| self.wrong(&format!("`{token}` is not among the tokens"))),
        };
        let [pad, bos, eos, unk] = SPECIALS;
        Ok(Specials {
            pad: find(&vocabulary.pad, pad)?,
            bos: find(&vocabulary.bos, bos)?,
            eos: find(&vocabulary.eos, eos)?,
            unk: find(&vocabulary.unk, unk)?,
        })
    }

    /// An error that names the map.
    pub fn wrong(&self, message: &str) -> Error {
        Error::data(self.path.display().to_string(), message)
    }
}
