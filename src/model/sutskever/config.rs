//! Settings of an encoder-decoder without attention: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    batch::Specials,
    model::settings::{self, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["sutskever"];

/// Sizes of a [`super::Sutskever`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `sutskever`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word, E.
    pub embedding: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// GRU layers of the encoder, and of the decoder, L.
    pub layers: usize,
    /// Dropout on embedded words, between layers and on what the output layer reads, in training.
    pub dropout: f32,
    /// The longest source or target, its end token included.
    pub max_length: usize,
    /// The special tokens of sources, where they are not those of targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_specials: Option<Specials>,
    /// The special tokens of targets.
    pub specials: Specials,
}

impl Config {
    /// E = H = 256, one layer on each side, no dropout, up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            source_vocabulary,
            target_vocabulary,
            embedding: 256,
            hidden: 256,
            layers: 1,
            dropout: 0.0,
            max_length: 100,
            source_specials: None,
            specials: Specials::default(),
        }
    }

    /// The special tokens of sources.
    pub(super) fn source_specials(&self) -> Specials {
        self.source_specials.unwrap_or(self.specials)
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming the field.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("source_vocabulary", self.source_vocabulary, VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, VOCABULARY),
            ("embedding", self.embedding, SIZE),
            ("hidden", self.hidden, SIZE),
            ("layers", self.layers, LAYERS),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_specials(path, self.source_specials(), self.source_vocabulary)?;
        settings::check_specials(path, self.specials, self.target_vocabulary)?;
        settings::check_rates(path, [("dropout", self.dropout)])
    }
}
