//! Settings of a stack: `config.json` of its folder, in the words of PyTorch's constructors.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    model::settings::{self, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["stack"];

/// A module of PyTorch's with what it was made of; its parameters' names begin with `name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "module", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are PyTorch's arguments")]
pub enum Module {
    /// `nn.Embedding`, which reads tokens.
    Embedding { name: String, num_embeddings: usize, embedding_dim: usize },
    /// `nn.GRU` with `batch_first=True`, from states of zeros over packed rows.
    #[serde(rename = "GRU")]
    Gru { name: String, input_size: usize, hidden_size: usize, num_layers: usize, bidirectional: bool, bias: bool },
    /// `nn.GRUCell`, step by step from a state of zeros.
    #[serde(rename = "GRUCell")]
    GruCell { name: String, input_size: usize, hidden_size: usize, bias: bool },
    /// `nn.Linear`.
    Linear { name: String, in_features: usize, out_features: usize, bias: bool },
    /// `nn.LayerNorm` over the last extent.
    LayerNorm { name: String, normalized_shape: usize, eps: f32, bias: bool },
    /// `nn.MultiheadAttention` with `batch_first=True` of rows to themselves, what is past a row's length masked.
    MultiheadAttention { name: String, embed_dim: usize, num_heads: usize, bias: bool },
}

impl Module {
    /// What its parameters' names begin with.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedding { name, .. }
            | Self::Gru { name, .. }
            | Self::GruCell { name, .. }
            | Self::Linear { name, .. }
            | Self::LayerNorm { name, .. }
            | Self::MultiheadAttention { name, .. } => name,
        }
    }

    /// The features that it reads at each step; none where it reads tokens.
    pub fn inputs(&self) -> Option<usize> {
        match *self {
            Self::Embedding { .. } => None,
            Self::Gru { input_size: inputs, .. }
            | Self::GruCell { input_size: inputs, .. }
            | Self::Linear { in_features: inputs, .. }
            | Self::LayerNorm { normalized_shape: inputs, .. }
            | Self::MultiheadAttention { embed_dim: inputs, .. } => Some(inputs),
        }
    }

    /// The features that it gives at each step.
    pub fn outputs(&self) -> usize {
        match *self {
            Self::Gru { hidden_size, bidirectional, .. } => hidden_size * (1 + usize::from(bidirectional)),
            Self::Embedding { embedding_dim: outputs, .. }
            | Self::GruCell { hidden_size: outputs, .. }
            | Self::Linear { out_features: outputs, .. }
            | Self::LayerNorm { normalized_shape: outputs, .. }
            | Self::MultiheadAttention { embed_dim: outputs, .. } => outputs,
        }
    }

    fn check(&self, path: &str) -> Result<()> {
        settings::check_sizes(path, [("the size of a module's input", self.inputs().unwrap_or(1), SIZE)])?;
        match *self {
            Self::Embedding { num_embeddings, embedding_dim, .. } => settings::check_sizes(
                path,
                [("num_embeddings", num_embeddings, VOCABULARY), ("embedding_dim", embedding_dim, SIZE)],
            ),
            Self::Gru { hidden_size, num_layers, .. } => {
                settings::check_sizes(path, [("hidden_size", hidden_size, SIZE), ("num_layers", num_layers, LAYERS)])
            }
            Self::GruCell { hidden_size, .. } => settings::check_sizes(path, [("hidden_size", hidden_size, SIZE)]),
            Self::Linear { out_features, .. } => settings::check_sizes(path, [("out_features", out_features, SIZE)]),
            Self::LayerNorm { eps, .. } => settings::check_epsilon(path, eps),
            Self::MultiheadAttention { embed_dim, num_heads, .. } => {
                settings::check_sizes(path, [("num_heads", num_heads, SIZE)])?;
                settings::check_heads(path, embed_dim, num_heads)
            }
        }
    }
}

/// Sizes and kinds of the layers of a [`super::Stack`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `stack`.
    pub architecture: String,
    /// The modules, each of which reads what the one before gives. The first may be an embedding, no other.
    pub layers: Vec<Module>,
    /// The longest row.
    pub max_length: usize,
    /// The ids of the special tokens, where it reads tokens.
    pub specials: Specials,
}

impl Config {
    /// These modules, rows of up to 512.
    pub fn new(layers: Vec<Module>) -> Self {
        Self { architecture: IN_FILES.concat(), layers, max_length: 512, specials: Specials::default() }
    }

    /// The tokens of the embedding, 0 without one.
    pub fn vocabulary(&self) -> usize {
        match self.layers.first() {
            Some(Module::Embedding { num_embeddings, .. }) => *num_embeddings,
            _ => 0,
        }
    }

    /// Checks that the modules stand on one another. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field, or the modules that contradict each other.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        settings::check_sizes(
            path,
            [("the number of layers", self.layers.len(), LAYERS), ("max_length", self.max_length, SIZE)],
        )?;
        self.layers.iter().try_for_each(|layer| layer.check(path))?;
        for (below, layer) in self.layers.iter().zip(self.layers.iter().skip(1)) {
            let (given, name) = (below.outputs(), layer.name());
            let reads = match layer.inputs() {
                Some(inputs) if inputs == given => continue,
                Some(inputs) => format!("{inputs} features"),
                None => "tokens".to_owned(),
            };
            let message =
                format!("layer `{name}` reads {reads}, and `{}` below it gives {given} features", below.name());
            return Err(Error::data(path, message));
        }
        let twice = self
            .layers
            .iter()
            .enumerate()
            .find(|(place, layer)| self.layers.iter().take(*place).any(|other| other.name() == layer.name()));
        if let Some((_, layer)) = twice {
            return Err(Error::data(path, format!("two layers are called `{}`", layer.name())));
        }
        let vocabulary = self.vocabulary();
        if vocabulary > 0 { settings::check_specials(path, self.specials, vocabulary) } else { Ok(()) }
    }
}
