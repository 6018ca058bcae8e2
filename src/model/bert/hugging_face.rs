//! Configurations of BERT, RoBERTa and Longformer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bert, Config, Head, config};
use crate::{
    Result,
    batch::Specials,
    model::{
        Counterpart, Import, Network, Nonlinearity,
        import::{activation, fields, id, stated, unknown},
    },
};

const BERT: Import = Import { model_type: config::BERT, read };
const ROBERTA: Import = Import { model_type: config::ROBERTA, read };
pub(super) const OF_BERT: &[Import] = &[BERT];
pub(super) const OF_ROBERTA: &[Import] = &[ROBERTA];
const LONGFORMER: Import = Import { model_type: config::LONGFORMER, read };
pub(super) const OF_LONGFORMER: &[Import] = &[LONGFORMER];

/// What their classes are called after the name of the model.
const CLASSES: [(Head, &str); 4] = [
    (Head::States, "Model"),
    (Head::Masked, "ForMaskedLM"),
    (Head::Classify, "ForSequenceClassification"),
    (Head::Span, "ForQuestionAnswering"),
];

/// Buffers, and the layers of outputs that a model of another class has been trained with too.
const LEFT_OUT: &[&str] = &[
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.dense.weight",
    "pooler.dense.bias",
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
];

#[derive(Deserialize, Serialize)]
struct Fields {
    model_type: String,
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(serialize_with = "activation")]
    hidden_act: Nonlinearity,
    layer_norm_eps: f32,
    hidden_dropout_prob: f32,
    attention_probs_dropout_prob: f32,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    pad_token_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_token_id: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    id2label: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_window: Option<AttentionWindow>,
}

/// The keys to both sides together, of every layer or of each.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum AttentionWindow {
    Same(usize),
    Each(Vec<usize>),
}

/// The keys to either side that each of so many layers sees.
fn windows(stated: Option<AttentionWindow>, layers: usize, path: &str) -> Result<Vec<usize>> {
    let both = match stated {
        None => Vec::new(),
        Some(AttentionWindow::Same(both)) => vec![both; layers],
        Some(AttentionWindow::Each(all)) => all,
    };
    match both.iter().find(|both| **both % 2 == 1) {
        Some(odd) => Err(unknown(path, &format!("attention_window has the odd number {odd}"))),
        None => Ok(both.into_iter().map(|both| both / 2).collect()),
    }
}

/// The beginning of the names of their classes.
fn class_prefix(model_type: &str) -> &'static str {
    match model_type {
        config::LONGFORMER => "Longformer",
        config::ROBERTA => "Roberta",
        _ => "Bert",
    }
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
    let kind = class.strip_prefix(class_prefix(&fields.model_type)).unwrap_or_default();
    let Some((head, _)) = CLASSES.into_iter().find(|(_, name)| *name == kind) else {
        return Err(unknown(path, &format!("architectures is `{class}`")));
    };
    let mut config = Config {
        architecture: fields.model_type,
        head,
        mask: fields.mask_token_id.filter(|_| head == Head::Masked),
        // Theirs is two where nothing else is said.
        classes: if fields.id2label.is_empty() { 2 } else { fields.id2label.len() },
        hidden: fields.hidden_size,
        heads: fields.num_attention_heads,
        feed_forward: fields.intermediate_size,
        layers: fields.num_hidden_layers,
        windows: windows(fields.attention_window, fields.num_hidden_layers, path)?,
        segments: fields.type_vocab_size,
        activation: fields.hidden_act,
        epsilon: fields.layer_norm_eps,
        dropout: fields.hidden_dropout_prob,
        attention_dropout: fields.attention_probs_dropout_prob,
        specials: Specials {
            pad: fields.pad_token_id,
            bos: id(fields.bos_token_id),
            eos: id(fields.eos_token_id),
            unk: id(fields.unk_token_id),
        },
        ..Config::new(fields.vocab_size)
    };
    config.max_length = fields.max_position_embeddings.saturating_sub(config.first_position());
    Ok(Bert::from_settings(config, path)?)
}

/// The counterpart of a model.
pub(super) fn counterpart(model: &Bert) -> Result<Counterpart> {
    // Whoever knows the names of classes writes them.
    let model = &*Bert::new(Config { named: false, ..model.config.clone() })?;
    let config = &model.config;
    let class = CLASSES.into_iter().find(|(head, _)| *head == config.head).map_or("", |(_, name)| name);
    let labels = if config.classes == 2 { 0..0 } else { 0..config.classes };
    let fields = Fields {
        model_type: config.architecture.clone(),
        architectures: vec![format!("{}{class}", class_prefix(&config.architecture))],
        vocab_size: config.vocabulary,
        hidden_size: config.hidden,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        intermediate_size: config.feed_forward,
        hidden_act: config.activation,
        layer_norm_eps: config.epsilon,
        hidden_dropout_prob: config.dropout,
        attention_probs_dropout_prob: config.attention_dropout,
        max_position_embeddings: config.max_length + config.first_position(),
        type_vocab_size: config.segments,
        pad_token_id: config.specials.pad,
        bos_token_id: stated(config.specials.bos),
        eos_token_id: stated(config.specials.eos),
        unk_token_id: stated(config.specials.unk),
        mask_token_id: config.mask,
        id2label: labels.map(|label| (label.to_string(), format!("LABEL_{label}"))).collect(),
        position_embedding_type: None,
        is_decoder: false,
        tie_word_embeddings: None,
        attention_window: config
            .is_longformer()
            .then(|| AttentionWindow::Each(config.windows.iter().map(|reach| 2 * reach).collect())),
    };
    let (import, prefix) = match config.architecture.as_str() {
        config::LONGFORMER => (LONGFORMER, "longformer."),
        config::ROBERTA => (ROBERTA, "roberta."),
        _ => (BERT, "bert."),
    };
    let is_bare = config.head == Head::States;
    Ok(Counterpart { prefix, is_bare, left_out: LEFT_OUT, ..import.counterpart(model, &fields)? })
}
