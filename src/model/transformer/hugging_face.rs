//! Configurations of Marian's and BART's models.

use serde::Deserialize;

use super::{Config, Transformer};
use crate::{
    Result,
    batch::Specials,
    model::{
        Import, Network, Nonlinearity, NormOrder, PositionKind,
        import::{fields, unknown},
    },
};

pub(super) const IMPORTS: &[Import] =
    &[Import { model_type: "marian", read: marian }, Import { model_type: "bart", read: bart }];

/// The fields that both have.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    decoder_vocab_size: Option<usize>,
    d_model: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    encoder_attention_heads: usize,
    decoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_ffn_dim: usize,
    activation_function: Nonlinearity,
    dropout: f32,
    attention_dropout: f32,
    activation_dropout: f32,
    scale_embedding: bool,
    max_position_embeddings: usize,
    pad_token_id: u32,
    eos_token_id: u32,
    decoder_start_token_id: u32,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default = "yes")]
    share_encoder_decoder_embeddings: bool,
}

fn yes() -> bool {
    true
}

impl Fields {
    /// What both kinds of model have.
    fn config(&self, path: &str) -> Result<Config> {
        if self.encoder_attention_heads != self.decoder_attention_heads {
            return Err(unknown(path, "encoder_attention_heads differs from decoder_attention_heads"));
        }
        Ok(Config {
            hidden: self.d_model,
            heads: self.encoder_attention_heads,
            encoder_feed_forward: self.encoder_ffn_dim,
            decoder_feed_forward: self.decoder_ffn_dim,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            norm: NormOrder::Post,
            activation: self.activation_function,
            scale_embeddings: self.scale_embedding,
            shared_embeddings: self.share_encoder_decoder_embeddings,
            tie_embeddings: self.tie_word_embeddings,
            output_bias: true,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
            activation_dropout: self.activation_dropout,
            max_length: self.max_position_embeddings,
            specials: Specials {
                pad: self.pad_token_id,
                bos: self.decoder_start_token_id,
                eos: self.eos_token_id,
                // Which one it is their tokenizers know.
                unk: u32::MAX,
            },
            ..Config::new(self.vocab_size, self.decoder_vocab_size.unwrap_or(self.vocab_size))
        })
    }
}

fn marian(text: &str, path: &str) -> Result<Network> {
    let config = fields::<Fields>(text, path)?.config(path)?;
    Ok(Transformer::from_settings(Config { positions: PositionKind::SinesFirst, ..config }, path)?)
}

fn bart(text: &str, path: &str) -> Result<Network> {
    let config = fields::<Fields>(text, path)?.config(path)?;
    // The table has two rows that its code has no use for any more.
    let config = Config { positions: PositionKind::Learned, position_offset: 2, embedding_norm: true, ..config };
    Ok(Transformer::from_settings(config, path)?)
}
