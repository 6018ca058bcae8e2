//! Configurations of BERT and RoBERTa.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Bert, Config, Head, config};
use crate::{
    Result,
    batch::Specials,
    model::{
        Import, Network, Nonlinearity,
        import::{fields, unknown},
    },
};

pub(super) const OF_BERT: &[Import] = &[Import { model_type: config::BERT, read }];
pub(super) const OF_ROBERTA: &[Import] = &[Import { model_type: config::ROBERTA, read }];

#[derive(Deserialize)]
struct Fields {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Nonlinearity,
    layer_norm_eps: f32,
    hidden_dropout_prob: f32,
    attention_probs_dropout_prob: f32,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    pad_token_id: u32,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    tie_word_embeddings: Option<bool>,
}

fn read(text: &str, path: &str) -> Result<Network> {
    let fields: Fields = fields(text, path)?;
    for (differs, setting) in [
        (
            fields.position_embedding_type.is_some_and(|kind| kind != "absolute"),
            "position_embedding_type is not absolute",
        ),
        (fields.is_decoder, "is_decoder is true"),
        (fields.tie_word_embeddings == Some(false), "tie_word_embeddings is false"),
    ] {
        if differs {
            return Err(unknown(path, setting));
        }
    }
    let class = fields.architectures.first().map_or("", String::as_str);
    let begins = if fields.model_type == config::ROBERTA { "Roberta" } else { "Bert" };
    let head = match class.strip_prefix(begins).unwrap_or_default() {
        "ForMaskedLM" => Head::Masked,
        "ForSequenceClassification" => Head::Classify,
        "ForQuestionAnswering" => Head::Span,
        _ => return Err(unknown(path, &format!("architectures is `{class}`"))),
    };
    let mut config = Config {
        architecture: fields.model_type,
        head,
        // Theirs is two where nothing else is said.
        classes: if fields.id2label.is_empty() { 2 } else { fields.id2label.len() },
        hidden: fields.hidden_size,
        heads: fields.num_attention_heads,
        feed_forward: fields.intermediate_size,
        layers: fields.num_hidden_layers,
        segments: fields.type_vocab_size,
        activation: fields.hidden_act,
        epsilon: fields.layer_norm_eps,
        dropout: fields.hidden_dropout_prob,
        attention_dropout: fields.attention_probs_dropout_prob,
        specials: Specials { pad: fields.pad_token_id, ..Specials::default() },
        ..Config::new(fields.vocab_size)
    };
    config.max_length = fields.max_position_embeddings.saturating_sub(config.first_position());
    Ok(Bert::from_settings(config, path)?)
}
