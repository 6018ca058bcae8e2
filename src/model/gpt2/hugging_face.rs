//! Configurations of GPT-2.

use serde::{Deserialize, Serialize};

use super::{Config, Gpt2};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network, Nonlinearity,
        import::{activation, fields, id, stated, unknown},
    },
};

const GPT2: Import = Import { model_type: "gpt2", read };
pub(super) const IMPORTS: &[Import] = &[GPT2];

/// Masks of the causal attention.
const LEFT_OUT: &[&str] = &[".attn.bias", ".attn.masked_bias"];

#[derive(Deserialize, Serialize)]
struct Fields {
    #[serde(skip_deserializing)]
    model_type: &'static str,
    #[serde(skip_deserializing)]
    architectures: [&'static str; 1],
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    #[serde(serialize_with = "activation")]
    activation_function: Nonlinearity,
    layer_norm_epsilon: f32,
    resid_pdrop: f32,
    #[serde(skip_deserializing)]
    embd_pdrop: f32,
    attn_pdrop: f32,
    bos_token_id: u32,
    eos_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token_id: Option<u32>,
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
        // Without a token for padding, no id is one, and bytes spell every word.
        specials: Specials {
            pad: id(fields.pad_token_id.filter(|pad| *pad != fields.eos_token_id)),
            bos: fields.bos_token_id,
            eos: fields.eos_token_id,
            unk: id(fields.unk_token_id),
        },
        ..Config::new(fields.vocab_size)
    };
    Ok(Gpt2::from_settings(config, path)?)
}

/// The counterpart of a model.
pub(super) fn counterpart(model: &Gpt2) -> Result<Counterpart> {
    let config = &model.config;
    let fields = Fields {
        model_type: GPT2.model_type,
        architectures: ["GPT2LMHeadModel"],
        vocab_size: config.vocabulary,
        n_positions: config.max_length,
        n_embd: config.hidden,
        n_layer: config.layers,
        n_head: config.heads,
        n_inner: Some(config.feed_forward),
        activation_function: config.activation,
        layer_norm_epsilon: config.epsilon,
        resid_pdrop: config.dropout,
        embd_pdrop: config.dropout,
        attn_pdrop: config.attention_dropout,
        bos_token_id: config.specials.bos,
        eos_token_id: config.specials.eos,
        pad_token_id: stated(config.specials.pad),
        unk_token_id: stated(config.specials.unk),
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        add_cross_attention: false,
        tie_word_embeddings: true,
    };
    Ok(Counterpart { prefix: "transformer.", left_out: LEFT_OUT, ..GPT2.counterpart(model, &fields)? })
}
