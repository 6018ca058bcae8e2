//! Settings of a Transformer-XL: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    kernels::dot_product_attention::LARGEST_SIZE,
    model::settings::{self, COUNT, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["transformer-xl"];

/// Sizes of a [`super::TransformerXl`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `transformer-xl`.
    pub architecture: String,
    /// Tokens, specials included.
    pub vocabulary: usize,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N.
    pub heads: usize,
    /// Features of each head, whatever D.
    pub head_size: usize,
    /// Size between the two layers of a feed-forward part.
    pub feed_forward: usize,
    /// Layers.
    pub layers: usize,
    /// Steps of a segment: gradients reach no farther.
    pub segment: usize,
    /// Steps before a segment whose states each layer remembers.
    pub memory: usize,
    /// The distance from which on all are the same; 0: none.
    pub farthest_position: usize,
    /// Whether the biases of all layers' queries are the same.
    pub shared_biases: bool,
    /// Added to the variance of what is normalised.
    pub epsilon: f32,
    /// Dropout on embedded words, positions, each part's result and within feed-forward parts, in training.
    pub dropout: f32,
    /// The longest text, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Four layers with D = 256, 4 heads of 64 and 1,024 between, segments and memories of 64 steps, no dropout, up to 256 tokens.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            vocabulary,
            hidden: 256,
            heads: 4,
            head_size: 64,
            feed_forward: 1024,
            layers: 4,
            segment: 64,
            memory: 64,
            farthest_position: 0,
            shared_biases: false,
            epsilon: 1e-5,
            dropout: 0.0,
            max_length: 256,
            specials: Specials::default(),
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field, or the two that contradict each other.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("vocabulary", self.vocabulary, VOCABULARY),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("head_size", self.head_size, 1..=LARGEST_SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("layers", self.layers, LAYERS),
            ("segment", self.segment, SIZE),
            ("memory", self.memory, COUNT),
            ("farthest_position", self.farthest_position, COUNT),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_rates(path, [("dropout", self.dropout)])?;
        settings::check_epsilon(path, self.epsilon)?;
        if !self.hidden.is_multiple_of(2) {
            let message = format!("positions are sinusoidal, in pairs of features, and hidden is {}, odd", self.hidden);
            return Err(Error::data(path, message));
        }
        Ok(())
    }
}
