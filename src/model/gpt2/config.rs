//! Settings of a GPT-2: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    batch::Specials,
    model::{
        Nonlinearity,
        settings::{self, LAYERS, SIZE, VOCABULARY},
    },
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["gpt2"];

/// Sizes and kind of a [`super::Gpt2`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `gpt2`.
    pub architecture: String,
    /// Tokens, specials included.
    pub vocabulary: usize,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N; they share D between them.
    pub heads: usize,
    /// Size between the two layers of a feed-forward part.
    pub feed_forward: usize,
    /// Layers.
    pub layers: usize,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Nonlinearity,
    /// Added to the variance of what is normalised.
    pub epsilon: f32,
    /// Dropout on embedded words and on each layer's result, in training.
    pub dropout: f32,
    /// Dropout of attention weights, in training.
    pub attention_dropout: f32,
    /// The longest text, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Four layers with D = 256, 4 heads and 1,024 between, no dropout, up to 256 tokens.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            vocabulary,
            hidden: 256,
            heads: 4,
            feed_forward: 1024,
            layers: 4,
            activation: Nonlinearity::GeluTanh,
            epsilon: 1e-5,
            dropout: 0.0,
            attention_dropout: 0.0,
            max_length: 256,
            specials: Specials::default(),
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming the field, or the two that contradict each other.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("vocabulary", self.vocabulary, VOCABULARY),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("layers", self.layers, LAYERS),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_specials(path, self.specials, self.vocabulary)?;
        settings::check_heads(path, self.hidden, self.heads)?;
        settings::check_rates(path, [("dropout", self.dropout), ("attention_dropout", self.attention_dropout)])?;
        settings::check_epsilon(path, self.epsilon)
    }
}
