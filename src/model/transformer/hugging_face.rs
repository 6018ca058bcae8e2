//! Configurations of Marian's and BART's models.

use serde::{Deserialize, Serialize};

use super::{Config, Transformer};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network, Nonlinearity, NormOrder, PositionKind,
        import::{activation, fields, id, stated, unknown},
    },
};

const MARIAN: Import = Import { model_type: "marian", read: marian };
const BART: Import = Import { model_type: "bart", read: bart };
pub(super) const IMPORTS: &[Import] = &[MARIAN, BART];

/// Tables of sines, which are computed here.
const SINES: &[&str] = &["embed_positions.weight"];
/// The logits' bias, which few models have another value of.
const BIAS: &str = "final_logits_bias";

/// The fields that both have.
#[derive(Deserialize, Serialize)]
struct Fields {
    #[serde(skip_deserializing)]
    model_type: &'static str,
    #[serde(skip_deserializing)]
    architectures: [&'static str; 1],
    vocab_size: usize,
    decoder_vocab_size: Option<usize>,
    d_model: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    encoder_attention_heads: usize,
    decoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_ffn_dim: usize,
    #[serde(serialize_with = "activation")]
    activation_function: Nonlinearity,
    dropout: f32,
    attention_dropout: f32,
    activation_dropout: f32,
    scale_embedding: bool,
    max_position_embeddings: usize,
    pad_token_id: u32,
    eos_token_id: u32,
    decoder_start_token_id: u32,
    /// The last token of a text that is cut, for their search.
    #[serde(skip_deserializing)]
    forced_eos_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token_id: Option<u32>,
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
                unk: id(self.unk_token_id),
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

/// The counterpart of a model.
pub(super) fn counterpart(model: &Transformer) -> Result<Counterpart> {
    let config = &model.config;
    let (import, class, left_out) = match config.positions {
        PositionKind::Learned => (BART, "BartForConditionalGeneration", &[][..]),
        _ => (MARIAN, "MarianMTModel", SINES),
    };
    let fields = Fields {
        model_type: import.model_type,
        architectures: [class],
        vocab_size: config.source_vocabulary,
        decoder_vocab_size: Some(config.target_vocabulary),
        d_model: config.hidden,
        encoder_layers: config.encoder_layers,
        decoder_layers: config.decoder_layers,
        encoder_attention_heads: config.heads,
        decoder_attention_heads: config.heads,
        encoder_ffn_dim: config.encoder_feed_forward,
        decoder_ffn_dim: config.decoder_feed_forward,
        activation_function: config.activation,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        activation_dropout: config.activation_dropout,
        scale_embedding: config.scale_embeddings,
        max_position_embeddings: config.max_length,
        pad_token_id: config.specials.pad,
        eos_token_id: config.specials.eos,
        decoder_start_token_id: config.specials.bos,
        forced_eos_token_id: config.specials.eos,
        unk_token_id: stated(config.specials.unk),
        tie_word_embeddings: config.tie_embeddings,
        share_encoder_decoder_embeddings: config.shared_embeddings,
    };
    let counterpart = import.counterpart(model, &fields)?;
    Ok(Counterpart { prefix: "model.", left_out, may_lack: &[BIAS], ..counterpart })
}
