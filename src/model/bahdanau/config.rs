//! Settings of the model: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    model::{
        Readout,
        settings::{self, LAYERS, SIZE, VOCABULARY},
    },
};

/// Names of the architecture in files: version 0.1.0, which knew no other, wrote the first and reads no other.
pub(super) const IN_FILES: &[&str] = &["seq2seq", "bahdanau"];

/// Sizes and kind of a [`super::Bahdanau`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `seq2seq` or `bahdanau`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word, E.
    pub embedding: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// Size of the alignment layer, A.
    pub attention: usize,
    /// The kind of readout.
    pub readout: Readout,
    /// Size of the readout, R (ignored without one).
    pub readout_size: usize,
    /// Whether the output layer's weight is the table of embedded target words (Press and Wolf 2017, section 3): one parameter,
    /// `decoder.embedding.weight`, also in the file. It needs an output layer that reads `embedding` values.
    #[serde(default)]
    pub tie_embeddings: bool,
    /// Bidirectional GRU layers of the encoder.
    pub encoder_layers: usize,
    /// Dropout on embedded words and on the input of the output layer, in training.
    pub dropout: f32,
    /// The longest source or target, its end token included.
    pub max_length: usize,
}

impl Config {
    /// The default model for two vocabularies: E = H = A = R = 256, one layer, no dropout, up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.first().copied().unwrap_or_default().into(),
            source_vocabulary,
            target_vocabulary,
            embedding: 256,
            hidden: 256,
            attention: 256,
            readout: Readout::Tanh,
            readout_size: 256,
            tie_embeddings: false,
            encoder_layers: 1,
            dropout: 0.0,
            max_length: 100,
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let readout_size = if self.readout == Readout::Tanh { self.readout_size } else { 1 };
        let sizes = [
            ("source_vocabulary", self.source_vocabulary, VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, VOCABULARY),
            ("embedding", self.embedding, SIZE),
            ("hidden", self.hidden, SIZE),
            ("attention", self.attention, SIZE),
            ("max_length", self.max_length, SIZE),
            ("readout_size", readout_size, SIZE),
            ("encoder_layers", self.encoder_layers, LAYERS),
        ];
        settings::check_sizes(path, sizes)?;
        if self.tie_embeddings && self.output_input() != self.embedding {
            let message = format!(
                "tie_embeddings makes the table of embedded words the output layer's weight, so the output layer must read as \
                 many values as a word has: {} and {} here; set readout to tanh, and readout_size to embedding",
                self.output_input(),
                self.embedding
            );
            return Err(Error::data(path, message));
        }
        settings::check_rates(path, [("dropout", self.dropout)])
    }

    /// The input size of the output layer.
    pub fn output_input(&self) -> usize {
        match self.readout {
            Readout::Tanh => self.readout_size,
            Readout::None => self.features(),
        }
    }

    /// Size of `[state; context; word]`.
    pub fn features(&self) -> usize {
        3 * self.hidden + self.embedding
    }
}
