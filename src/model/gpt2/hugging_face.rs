//! Configurations of GPT-2.

use serde::Deserialize;

use super::{Config, Gpt2};
use crate::{
    Result,
    batch::Specials,
    model::{
        Import, Network, Nonlinearity,
        import::{fields, unknown},
    },
};

pub(super) const IMPORTS: &[Import] = &[Import { model_type: "gpt2", read }];

#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: Nonlinearity,
    layer_norm_epsilon: f32,
    resid_pdrop: f32,
    attn_pdrop: f32,
    bos_token_id: u32,
    eos_token_id: u32,
    pad_token_id: Option<u32>,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
}

fn yes() -> bool {
    true
}

fn read(text: &str, path: &str) -> Result<Network> {
    let fields: Fields = fields(text, path)?;
    for (differs, setting) in [
        (!fields.scale_attn_weights, "scale_attn_weights is false"),
        (fields.scale_attn_by_inverse_layer_idx, "scale_attn_by_inverse_layer_idx is true"),
        (fields.add_cross_attention, "add_cross_attention is true"),
        (!fields.tie_word_embeddings, "tie_word_embeddings is false"),
    ] {
        if differs {
            return Err(unknown(path, setting));
        }
    }
    let config = Config {
        hidden: fields.n_embd,
        heads: fields.n_head,
        feed_forward: fields.n_inner.unwrap_or(fields.n_embd.saturating_mul(4)),
        layers: fields.n_layer,
        activation: fields.activation_function,
        epsilon: fields.layer_norm_epsilon,
        dropout: fields.resid_pdrop,
        attention_dropout: fields.attn_pdrop,
        max_length: fields.n_positions,
        // Without a token for padding, no id is one; nor is one for unknown words, of which there are none.
        specials: Specials {
            pad: fields.pad_token_id.filter(|pad| *pad != fields.eos_token_id).unwrap_or(u32::MAX),
            bos: fields.bos_token_id,
            eos: fields.eos_token_id,
            unk: u32::MAX,
        },
        ..Config::new(fields.vocab_size)
    };
    Ok(Gpt2::from_settings(config, path)?)
}
