//! Settings of a convolutional model: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    kernels::dot_product_attention::LARGEST_SIZE,
    model::settings::{self, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["convs2s"];

/// The most steps that a convolution sees.
const WIDEST: usize = 64;

/// Sizes of a [`super::ConvS2S`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `convs2s`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word, and of what attention compares, E.
    pub embedding: usize,
    /// Channels between the layers, H.
    pub hidden: usize,
    /// Size before the output layer.
    pub output_size: usize,
    /// The steps that each convolution of the encoder sees: an odd number, as many on both sides of its own.
    pub encoder_widths: Vec<usize>,
    /// The steps that each convolution of the decoder sees, its own and those before it.
    pub decoder_widths: Vec<usize>,
    /// Dropout on embedded words and on what convolutions read, in training.
    pub dropout: f32,
    /// The longest source or target, its end token included: rows of the tables of positions.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Four layers of width 3 on each side with E = H = 256, no dropout, up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            source_vocabulary,
            target_vocabulary,
            embedding: 256,
            hidden: 256,
            output_size: 256,
            encoder_widths: vec![3; 4],
            decoder_widths: vec![3; 4],
            dropout: 0.0,
            max_length: 100,
            specials: Specials::default(),
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("source_vocabulary", self.source_vocabulary, VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, VOCABULARY),
            ("embedding, whose features attention compares,", self.embedding, 1..=LARGEST_SIZE),
            ("hidden", self.hidden, SIZE),
            ("output_size", self.output_size, SIZE),
            ("the number of encoder_widths", self.encoder_widths.len(), LAYERS),
            ("the number of decoder_widths", self.decoder_widths.len(), LAYERS),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_rates(path, [("dropout", self.dropout)])?;
        for (field, widths) in [("encoder_widths", &self.encoder_widths), ("decoder_widths", &self.decoder_widths)] {
            for width in widths {
                settings::check_sizes(path, [(field, *width, 1..=WIDEST)])?;
            }
        }
        if let Some(even) = self.encoder_widths.iter().find(|width| width.is_multiple_of(2)) {
            let message =
                format!("encoder_widths holds {even}; a width of the encoder is odd, as many steps on both sides");
            return Err(Error::data(path, message));
        }
        Ok(())
    }
}
