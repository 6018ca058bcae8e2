//! Configurations of Reformer.

use serde::{Deserialize, Serialize};

use super::{AttentionKind, Axial, Config, Reformer, config};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network, Nonlinearity,
        import::{activation, fields, id, stated, unknown},
    },
};

const REFORMER: Import = Import { model_type: "reformer", read };
pub(super) const IMPORTS: &[Import] = &[REFORMER];

/// What masked scores are replaced by, and a bias of which the model makes no use: that of its output layer has another name.
const LEFT_OUT: &[&str] = &["mask_value_float16", "mask_value_float32", "lm_head.bias"];

/// The number of buckets, or its factors.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Buckets {
    Number(usize),
    Factors(Vec<usize>),
}

#[derive(Deserialize, Serialize)]
struct Fields {
    #[serde(skip_deserializing)]
    model_type: &'static str,
    #[serde(skip_deserializing)]
    architectures: [&'static str; 1],
    vocab_size: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    attention_head_size: usize,
    feed_forward_size: usize,
    attn_layers: Vec<AttentionKind>,
    local_attn_chunk_length: usize,
    local_num_chunks_before: usize,
    local_num_chunks_after: usize,
    lsh_attn_chunk_length: usize,
    lsh_num_chunks_before: usize,
    lsh_num_chunks_after: usize,
    num_hashes: usize,
    num_buckets: Option<Buckets>,
    hash_seed: Option<u64>,
    axial_pos_embds: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    axial_pos_shape: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    axial_pos_embds_dim: Option<[usize; 2]>,
    max_position_embeddings: usize,
    #[serde(serialize_with = "activation")]
    hidden_act: Nonlinearity,
    layer_norm_eps: f32,
    hidden_dropout_prob: f32,
    local_attention_probs_dropout_prob: f32,
    lsh_attention_probs_dropout_prob: f32,
    is_decoder: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token_id: Option<u32>,
    eos_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token_id: Option<u32>,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn read(text: &str, path: &str) -> Result<Network> {
    let fields: Fields = fields(text, path)?;
    for (differs, setting) in [
        (!fields.is_decoder, "is_decoder is false"),
        (fields.local_num_chunks_after != 0, "local_num_chunks_after is not 0"),
        (fields.lsh_num_chunks_after != 0, "lsh_num_chunks_after is not 0"),
        (fields.tie_word_embeddings, "tie_word_embeddings is true"),
    ] {
        if differs {
            return Err(unknown(path, setting));
        }
    }
    let mut axial = None;
    let mut max_length = fields.max_position_embeddings;
    if fields.axial_pos_embds {
        let (Some(shape), Some(sizes)) = (fields.axial_pos_shape, fields.axial_pos_embds_dim) else {
            return Err(unknown(path, "axial_pos_embds without axial_pos_shape and axial_pos_embds_dim"));
        };
        axial = Some(Axial { shape, sizes });
        max_length = max_length.min(shape[0].saturating_mul(shape[1]));
    }
    let config = Config {
        hidden: fields.hidden_size,
        heads: fields.num_attention_heads,
        head_size: fields.attention_head_size,
        feed_forward: fields.feed_forward_size,
        attention: fields.attn_layers,
        local_chunk: fields.local_attn_chunk_length,
        local_before: fields.local_num_chunks_before,
        lsh_chunk: fields.lsh_attn_chunk_length,
        lsh_before: fields.lsh_num_chunks_before,
        hashes: fields.num_hashes,
        buckets: match fields.num_buckets {
            Some(Buckets::Number(number)) => vec![number],
            Some(Buckets::Factors(factors)) => factors,
            None => config::buckets(max_length, fields.lsh_attn_chunk_length),
        },
        hash_seed: fields.hash_seed.unwrap_or(0),
        axial,
        activation: fields.hidden_act,
        epsilon: fields.layer_norm_eps,
        dropout: fields.hidden_dropout_prob,
        local_dropout: fields.local_attention_probs_dropout_prob,
        lsh_dropout: fields.lsh_attention_probs_dropout_prob,
        max_length,
        specials: Specials {
            pad: id(fields.pad_token_id.filter(|pad| *pad != fields.eos_token_id)),
            bos: fields.bos_token_id.unwrap_or(fields.eos_token_id),
            eos: fields.eos_token_id,
            unk: id(fields.unk_token_id),
        },
        ..Config::new(fields.vocab_size)
    };
    Ok(Reformer::from_settings(config, path)?)
}

/// The counterpart of a model.
pub(super) fn counterpart(model: &Reformer) -> Result<Counterpart> {
    let config = &model.config;
    let fields = Fields {
        model_type: REFORMER.model_type,
        architectures: ["ReformerModelWithLMHead"],
        vocab_size: config.vocabulary,
        hidden_size: config.hidden,
        num_attention_heads: config.heads,
        attention_head_size: config.head_size,
        feed_forward_size: config.feed_forward,
        attn_layers: config.attention.clone(),
        local_attn_chunk_length: config.local_chunk,
        local_num_chunks_before: config.local_before,
        local_num_chunks_after: 0,
        lsh_attn_chunk_length: config.lsh_chunk,
        lsh_num_chunks_before: config.lsh_before,
        lsh_num_chunks_after: 0,
        num_hashes: config.hashes,
        num_buckets: Some(match config.buckets[..] {
            [number] => Buckets::Number(number),
            _ => Buckets::Factors(config.buckets.clone()),
        }),
        hash_seed: Some(config.hash_seed),
        axial_pos_embds: config.axial.is_some(),
        axial_pos_shape: config.axial.map(|axial| axial.shape),
        axial_pos_embds_dim: config.axial.map(|axial| axial.sizes),
        max_position_embeddings: config.max_length,
        hidden_act: config.activation,
        layer_norm_eps: config.epsilon,
        hidden_dropout_prob: config.dropout,
        local_attention_probs_dropout_prob: config.local_dropout,
        lsh_attention_probs_dropout_prob: config.lsh_dropout,
        is_decoder: true,
        bos_token_id: Some(config.specials.bos),
        eos_token_id: config.specials.eos,
        pad_token_id: stated(config.specials.pad),
        unk_token_id: stated(config.specials.unk),
        tie_word_embeddings: false,
    };
    Ok(Counterpart { left_out: LEFT_OUT, ..REFORMER.counterpart(model, &fields)? })
}
