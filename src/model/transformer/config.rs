//! Settings of a Transformer: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    model::{
        Nonlinearity, NormOrder, PositionKind,
        settings::{self, COUNT, LAYERS, SIZE, VOCABULARY},
    },
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["transformer"];

/// Sizes and kind of a [`super::Transformer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `transformer`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N; they share D between them.
    pub heads: usize,
    /// Size between the two layers of the encoder's feed-forward parts.
    pub encoder_feed_forward: usize,
    /// The same of the decoder's.
    pub decoder_feed_forward: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// The place of layer normalisation; with [`NormOrder::Pre`] encoder and decoder end in one more.
    pub norm: NormOrder,
    /// Positions added to the embedded words.
    pub positions: PositionKind,
    /// Rows of the learned positions before the first one.
    pub position_offset: usize,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Nonlinearity,
    /// Whether embedded words with their positions are normalised.
    pub embedding_norm: bool,
    /// Whether embedded words are multiplied by the root of D (Vaswani et al. 2017, section 3.4).
    pub scale_embeddings: bool,
    /// Whether source and target words are one table.
    pub shared_embeddings: bool,
    /// Whether the output layer's weight is the table of target words.
    pub tie_embeddings: bool,
    /// Whether the logits have a bias.
    pub output_bias: bool,
    /// Dropout on embedded words and on each layer's result, in training.
    pub dropout: f32,
    /// Dropout of attention weights, in training.
    pub attention_dropout: f32,
    /// Dropout between the two layers of the feed-forward parts, in training.
    pub activation_dropout: f32,
    /// The longest source or target, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Three layers on each side with D = 256, 4 heads and 1,024 between, normalised first, sinusoidal positions, an output layer
    /// tied to the target words, no dropout, up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            source_vocabulary,
            target_vocabulary,
            hidden: 256,
            heads: 4,
            encoder_feed_forward: 1024,
            decoder_feed_forward: 1024,
            encoder_layers: 3,
            decoder_layers: 3,
            norm: NormOrder::Pre,
            positions: PositionKind::Sinusoidal,
            position_offset: 0,
            activation: Nonlinearity::Relu,
            embedding_norm: false,
            scale_embeddings: true,
            shared_embeddings: false,
            tie_embeddings: true,
            output_bias: false,
            dropout: 0.0,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            max_length: 100,
            specials: Specials::default(),
        }
    }

    /// The factor on embedded words.
    pub(super) fn factor(&self) -> f32 {
        if self.scale_embeddings { (self.hidden as f32).sqrt() } else { 1.0 }
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
            ("encoder_feed_forward", self.encoder_feed_forward, SIZE),
            ("decoder_feed_forward", self.decoder_feed_forward, SIZE),
            ("encoder_layers", self.encoder_layers, LAYERS),
            ("decoder_layers", self.decoder_layers, LAYERS),
            ("position_offset", self.position_offset, COUNT),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_specials(path, self.specials, self.source_vocabulary.min(self.target_vocabulary))?;
        settings::check_heads(path, self.hidden, self.heads)?;
        let rates = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
        ];
        settings::check_rates(path, rates)?;
        if self.positions != PositionKind::Learned && !self.hidden.is_multiple_of(2) {
            let message = format!("positions are sinusoidal, in pairs of features, and hidden is {}, odd", self.hidden);
            return Err(Error::data(path, message));
        }
        settings::check_shared(path, self.shared_embeddings, [self.source_vocabulary, self.target_vocabulary])
    }
}
