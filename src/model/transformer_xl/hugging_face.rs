//! Configurations of Transformer-XL with one vocabulary for frequent and rare words.

use serde::{Deserialize, Serialize};

use super::{Config, TransformerXl};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network,
        import::{fields, id, stated, unknown},
    },
};

const TRANSFO_XL: Import = Import { model_type: "transfo-xl", read };
pub(super) const IMPORTS: &[Import] = &[TRANSFO_XL];

/// Wavelengths of the sinusoids.
const LEFT_OUT: &[&str] = &["transformer.pos_emb.inv_freq"];

#[derive(Deserialize, Serialize)]
struct Fields {
    #[serde(skip_deserializing)]
    model_type: &'static str,
    #[serde(skip_deserializing)]
    architectures: [&'static str; 1],
    vocab_size: usize,
    cutoffs: Vec<usize>,
    d_model: usize,
    d_embed: usize,
    n_head: usize,
    d_head: usize,
    d_inner: usize,
    pre_lnorm: bool,
    n_layer: usize,
    mem_len: usize,
    /// -1 without one.
    clamp_len: i64,
    same_length: bool,
    attn_type: usize,
    dropout: f32,
    dropatt: f32,
    untie_r: bool,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f32,
    eos_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<u32>,
}

fn epsilon() -> f32 {
    1e-5
}

fn read(text: &str, path: &str) -> Result<Network> {
    let fields: Fields = fields(text, path)?;
    for (differs, setting) in [
        (!fields.cutoffs.is_empty(), "cutoffs are not empty: words of several sizes"),
        (fields.d_embed != fields.d_model, "d_embed differs from d_model"),
        (fields.pre_lnorm, "pre_lnorm is true"),
        (fields.same_length, "same_length is true"),
        (fields.attn_type != 0, "attn_type is not 0"),
        (fields.dropatt != 0.0, "dropatt is not 0"),
    ] {
        if differs {
            return Err(unknown(path, setting));
        }
    }
    let config = Config {
        hidden: fields.d_model,
        heads: fields.n_head,
        head_size: fields.d_head,
        feed_forward: fields.d_inner,
        layers: fields.n_layer,
        memory: fields.mem_len,
        farthest_position: usize::try_from(fields.clamp_len).unwrap_or(0),
        shared_biases: !fields.untie_r,
        epsilon: fields.layer_norm_epsilon,
        dropout: fields.dropout,
        // One token separates texts.
        specials: Specials {
            pad: id(fields.pad_token_id),
            bos: fields.eos_token_id,
            eos: fields.eos_token_id,
            unk: u32::MAX,
        },
        ..Config::new(fields.vocab_size)
    };
    Ok(TransformerXl::from_settings(config, path)?)
}

/// The counterpart of a model.
pub(super) fn counterpart(model: &TransformerXl) -> Result<Counterpart> {
    let config = &model.config;
    let fields = Fields {
        model_type: TRANSFO_XL.model_type,
        architectures: ["TransfoXLLMHeadModel"],
        vocab_size: config.vocabulary,
        cutoffs: vec![],
        d_model: config.hidden,
        d_embed: config.hidden,
        n_head: config.heads,
        d_head: config.head_size,
        d_inner: config.feed_forward,
        pre_lnorm: false,
        n_layer: config.layers,
        mem_len: config.memory,
        clamp_len: if config.farthest_position == 0 { -1 } else { config.farthest_position as i64 },
        same_length: false,
        attn_type: 0,
        dropout: config.dropout,
        dropatt: 0.0,
        untie_r: !config.shared_biases,
        layer_norm_epsilon: config.epsilon,
        eos_token_id: config.specials.eos,
        pad_token_id: stated(config.specials.pad),
    };
    Ok(Counterpart { left_out: LEFT_OUT, ..TRANSFO_XL.counterpart(model, &fields)? })
}
