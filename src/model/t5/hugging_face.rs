//! Configurations of T5, 1.0 and 1.1.

use serde::{Deserialize, Serialize};

use super::{Config, T5};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network, Nonlinearity,
        import::{fields, id, stated, unknown},
    },
};

const T5_KIND: Import = Import { model_type: "t5", read };
pub(super) const IMPORTS: &[Import] = &[T5_KIND];

/// What the first checkpoints have of a bias that no attention to a source has.
const LEFT_OUT: &[&str] = &["EncDecAttention.relative_attention_bias.weight"];

#[derive(Deserialize, Serialize)]
struct Fields {
    #[serde(skip_deserializing)]
    model_type: &'static str,
    #[serde(skip_deserializing)]
    architectures: [&'static str; 1],
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    #[serde(default = "farthest")]
    relative_attention_max_distance: usize,
    #[serde(default = "ungated")]
    feed_forward_proj: String,
    layer_norm_epsilon: f32,
    dropout_rate: f32,
    pad_token_id: u32,
    eos_token_id: u32,
    decoder_start_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token_id: Option<u32>,
    /// Not a limit: attention knows distances alone.
    #[serde(default = "length")]
    n_positions: usize,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale_decoder_outputs: Option<bool>,
}

fn farthest() -> usize {
    128
}

fn ungated() -> String {
    "relu".into()
}

fn length() -> usize {
    512
}

fn yes() -> bool {
    true
}

/// The nonlinearity of a feed-forward part, and whether it has a gate.
fn activation(name: &str, path: &str) -> Result<(Nonlinearity, bool)> {
    let (function, gated) = match name.strip_prefix("gated-") {
        // What is called GELU here is its approximation.
        Some("gelu") => ("gelu_new", true),
        Some(function) => (function, true),
        None => (name, false),
    };
    let known = serde_json::from_value(function.into());
    known.map(|function| (function, gated)).map_err(|_| unknown(path, &format!("feed_forward_proj is `{name}`")))
}

fn read(text: &str, path: &str) -> Result<Network> {
    let fields: Fields = fields(text, path)?;
    let (activation, gated) = activation(&fields.feed_forward_proj, path)?;
    let config = Config {
        hidden: fields.d_model,
        heads: fields.num_heads,
        head_size: fields.d_kv,
        feed_forward: fields.d_ff,
        encoder_layers: fields.num_layers,
        decoder_layers: fields.num_decoder_layers.unwrap_or(fields.num_layers),
        position_buckets: fields.relative_attention_num_buckets,
        farthest_position: fields.relative_attention_max_distance,
        activation,
        gated,
        epsilon: fields.layer_norm_epsilon,
        shared_embeddings: true,
        tie_embeddings: fields.tie_word_embeddings,
        scale_output: fields.scale_decoder_outputs.unwrap_or(fields.tie_word_embeddings),
        dropout: fields.dropout_rate,
        max_length: fields.n_positions,
        specials: Specials {
            pad: fields.pad_token_id,
            bos: fields.decoder_start_token_id,
            eos: fields.eos_token_id,
            unk: id(fields.unk_token_id),
        },
        ..Config::new(fields.vocab_size, fields.vocab_size)
    };
    Ok(T5::from_settings(config, path)?)
}

/// The counterpart of a model.
pub(super) fn counterpart(model: &T5) -> Result<Counterpart> {
    let config = &model.config;
    let function = match config.activation {
        Nonlinearity::GeluTanh if config.gated => "gelu",
        Nonlinearity::GeluTanh => "gelu_new",
        Nonlinearity::Gelu => "gelu",
        Nonlinearity::Relu => "relu",
        Nonlinearity::Swish => "silu",
    };
    let fields = Fields {
        model_type: T5_KIND.model_type,
        architectures: ["T5ForConditionalGeneration"],
        vocab_size: config.source_vocabulary,
        d_model: config.hidden,
        d_kv: config.head_size,
        d_ff: config.feed_forward,
        num_layers: config.encoder_layers,
        num_decoder_layers: Some(config.decoder_layers),
        num_heads: config.heads,
        relative_attention_num_buckets: config.position_buckets,
        relative_attention_max_distance: config.farthest_position,
        feed_forward_proj: if config.gated { format!("gated-{function}") } else { function.to_owned() },
        layer_norm_epsilon: config.epsilon,
        dropout_rate: config.dropout,
        pad_token_id: config.specials.pad,
        eos_token_id: config.specials.eos,
        decoder_start_token_id: config.specials.bos,
        unk_token_id: stated(config.specials.unk),
        n_positions: config.max_length,
        tie_word_embeddings: config.tie_embeddings,
        // Theirs are scaled where the tables are tied.
        scale_decoder_outputs: (config.scale_output != config.tie_embeddings).then_some(config.scale_output),
    };
    Ok(Counterpart { left_out: LEFT_OUT, ..T5_KIND.counterpart(model, &fields)? })
}
