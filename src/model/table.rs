//! The table of architectures.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Import, Kind, Learns, ModelOptions, Network, Shapes, adaptive_span, bahdanau, bert, convs2s, gpt2, import, luong,
    reformer, settings, stack, sutskever, t5, transformer, transformer_xl,
};
use crate::{Error, Result, names::setting};

/// Every architecture.
pub const ARCHITECTURES: &[Kind] = &[
    bahdanau::KIND,
    luong::KIND,
    sutskever::KIND,
    transformer::KIND,
    t5::KIND,
    convs2s::KIND,
    gpt2::KIND,
    transformer_xl::KIND,
    adaptive_span::KIND,
    reformer::KIND,
    bert::KIND,
    bert::ROBERTA,
    bert::LONGFORMER,
    stack::KIND,
];

/// The field that every `config.json` has.
#[derive(Deserialize)]
struct Named {
    architecture: String,
}

impl Kind {
    /// The default architecture.
    pub const DEFAULT: Self = bahdanau::KIND;

    /// The architecture of a name.
    ///
    /// # Errors
    /// [`Error::Data`] that lists the names there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = ARCHITECTURES.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| {
            Error::data(setting("architecture"), format!("`{name}` is not known here; known are {}", known()))
        })
    }

    /// The data that a new model of this architecture may learn from, what it is made for first; nothing for one that is not
    /// trained here.
    pub fn learns(&self) -> impl Iterator<Item = Learns> + use<> {
        self.makes.iter().map(|(learns, _)| *learns)
    }

    /// The names of the architectures that learn from such data.
    pub fn that_learn(learns: Learns) -> Vec<&'static str> {
        ARCHITECTURES.iter().filter(|kind| kind.learns().any(|one| one == learns)).map(|kind| kind.name).collect()
    }

    /// A model of this architecture, made for the first of the data that it [learns](Kind::learns) from, for a source and a target
    /// vocabulary of these sizes; one that reads no source takes the second alone.
    ///
    /// # Errors
    /// Those of [`Kind::make_for`].
    pub fn make(&self, options: &ModelOptions, vocabularies: [usize; 2]) -> Result<Network> {
        self.make_for(self.learns().next().unwrap_or(Learns::Pairs), options, vocabularies)
    }

    /// The same for data of this kind.
    ///
    /// # Errors
    /// [`Error::Data`] for sizes or settings that make no model, and for an architecture that does not learn from such data.
    pub fn make_for(&self, learns: Learns, options: &ModelOptions, vocabularies: [usize; 2]) -> Result<Network> {
        let found = self.makes.iter().find(|(one, _)| *one == learns);
        let (_, make) = found.ok_or_else(|| {
            let own = self.learns().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ");
            let own = if own.is_empty() { "is not trained here".to_owned() } else { format!("learns from {own}") };
            let message =
                format!("this architecture {own}; from {learns} learn {}", Self::that_learn(learns).join(", "));
            Error::data(self.name, message)
        })?;
        make(options, vocabularies)
    }

    /// The model of a PyTorch `state_dict` with tensors of these shapes, and these fields of its `config.json`: all of them for an
    /// architecture whose sizes shapes do not tell here.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the tensor, or the map and the field.
    pub fn of_shapes(&self, shapes: &Shapes, settings: &Map<String, Value>) -> Result<Network> {
        if let Some(from_shapes) = self.from_shapes {
            return from_shapes(shapes, settings);
        }
        let mut all = settings.clone();
        all.insert("architecture".to_owned(), self.name.into());
        (self.read)(&Value::Object(all).to_string(), &shapes.map)
    }

    /// The model that the text of a `config.json` describes. `path` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file.
    pub fn read(text: &str, path: &str) -> Result<Network> {
        let Named { architecture } = settings::read(text, path)?;
        let found = ARCHITECTURES.iter().find(|kind| kind.in_files.contains(&architecture.as_str()));
        let kind = found.ok_or_else(|| {
            Error::data(path, format!("architecture `{architecture}` is not known here; known are {}", known()))
        })?;
        (kind.read)(text, path)
    }
}

/// The field that every `config.json` of theirs has.
#[derive(Deserialize)]
struct Typed {
    model_type: String,
}

impl Import {
    /// The kind of model that the text of a `config.json` of Hugging Face's is of. `path` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, and the kinds that there are.
    pub fn of(text: &str, path: &str) -> Result<&'static Self> {
        let Typed { model_type } = import::fields(text, path)?;
        let mut all = ARCHITECTURES.iter().flat_map(|kind| kind.imports);
        all.find(|import| import.model_type == model_type).ok_or_else(|| {
            let known: Vec<_> = ARCHITECTURES.iter().flat_map(|kind| kind.imports).map(|one| one.model_type).collect();
            let message = format!("model_type `{model_type}` is not known here; known are {}", known.join(", "));
            Error::data(path, message)
        })
    }
}

/// The names, for errors.
fn known() -> String {
    ARCHITECTURES.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}
