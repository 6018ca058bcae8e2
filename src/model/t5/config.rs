//! Settings of a T5: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    kernels::{dot_product_attention::LARGEST_SIZE, relative_position_bias::MOST_BUCKETS},
    model::{
        Nonlinearity,
        settings::{self, LAYERS, SIZE, VOCABULARY},
    },
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["t5"];

/// Sizes and kind of a [`super::T5`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `t5`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N.
    pub heads: usize,
    /// Features of each head, whatever D.
    pub head_size: usize,
    /// Size between the two layers of the feed-forward parts.
    pub feed_forward: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Buckets of relative positions; in the encoder half of them for each direction.
    pub position_buckets: usize,
    /// The distance from which on all share a bucket.
    pub farthest_position: usize,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Nonlinearity,
    /// Whether what it makes is multiplied with a second layer's result (T5 1.1).
    pub gated: bool,
    /// Added to the mean square of what is normalised.
    pub epsilon: f32,
    /// Whether source and target words are one table.
    pub shared_embeddings: bool,
    /// Whether the output layer's weight is the table of target words (T5 1.0).
    pub tie_embeddings: bool,
    /// Whether the output layer reads states over the root of D (T5 1.0).
    pub scale_output: bool,
    /// Dropout on embedded words, attention weights, each part's and the top layer's result, and within feed-forward parts, in
    /// training.
    pub dropout: f32,
    /// The longest source or target, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// T5 1.0 with three layers on each side, D = 256, 4 heads of 64 and 1,024 between, no dropout, up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            source_vocabulary,
            target_vocabulary,
            hidden: 256,
            heads: 4,
            head_size: 64,
            feed_forward: 1024,
            encoder_layers: 3,
            decoder_layers: 3,
            position_buckets: 32,
            farthest_position: 128,
            activation: Nonlinearity::Relu,
            gated: false,
            epsilon: 1e-6,
            shared_embeddings: false,
            tie_embeddings: true,
            scale_output: true,
            dropout: 0.0,
            max_length: 100,
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
            ("source_vocabulary", self.source_vocabulary, VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, VOCABULARY),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("head_size", self.head_size, 1..=LARGEST_SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("encoder_layers", self.encoder_layers, LAYERS),
            ("decoder_layers", self.decoder_layers, LAYERS),
            ("position_buckets", self.position_buckets, 4..=MOST_BUCKETS),
            ("farthest_position", self.farthest_position, SIZE),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_specials(path, self.specials, self.source_vocabulary.min(self.target_vocabulary))?;
        settings::check_rates(path, [("dropout", self.dropout)])?;
        settings::check_epsilon(path, self.epsilon)?;
        settings::check_shared(path, self.shared_embeddings, [self.source_vocabulary, self.target_vocabulary])?;
        let Self { position_buckets: buckets, farthest_position: farthest, .. } = *self;
        if !buckets.is_multiple_of(2) {
            let message = format!("position_buckets is {buckets}; the encoder has half of them for each direction");
            return Err(Error::data(path, message));
        }
        if farthest <= buckets / 2 {
            let message = format!(
                "farthest_position is {farthest} and position_buckets {buckets}, half of which are for near positions, one \
                 each: the farthest must lie behind them"
            );
            return Err(Error::data(path, message));
        }
        Ok(())
    }
}
