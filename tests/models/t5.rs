//! T5 against its reference: with and without gates, with tables of its own and shared ones.

use crate::common::{
    self,
    models::{Case, assert_agrees, assert_agrees_in_every_form, assert_steps_are_the_whole_pass},
};
use softalign::{
    Error,
    batch::Specials,
    model::{
        Import, Kind, ModelOptions, Nonlinearity, Readout,
        t5::{Config, T5},
    },
    reference::{self, pointwise::Pointwise, seq2seq::Named},
};

/// A model for each nonlinearity and sharing of tables.
fn configs() -> Vec<Config> {
    let mut all = Vec::new();
    for (gated, activation) in [(false, Nonlinearity::Relu), (true, Nonlinearity::GeluTanh)] {
        for (shared_embeddings, tie_embeddings) in [(false, false), (false, true), (true, true)] {
            all.push(Config {
                hidden: 10,
                heads: 3,
                head_size: 4,
                feed_forward: 7,
                encoder_layers: 2,
                decoder_layers: 1 + usize::from(shared_embeddings),
                position_buckets: 6,
                farthest_position: 5,
                activation,
                gated,
                shared_embeddings,
                tie_embeddings,
                scale_output: tie_embeddings,
                max_length: 8,
                ..Config::new(9, if shared_embeddings { 9 } else { 8 })
            });
        }
    }
    all
}

fn reference<'a>(config: &Config, parameters: &'a Named) -> reference::t5::T5<'a> {
    let tables = match (config.shared_embeddings, config.tie_embeddings) {
        (true, _) => ["shared.weight"; 3],
        (false, tied) => {
            let (source, target) = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight");
            [source, target, if tied { target } else { "lm_head.weight" }]
        }
    };
    reference::t5::T5 {
        parameters,
        hidden: config.hidden,
        heads: config.heads,
        size: config.head_size,
        layers: [config.encoder_layers, config.decoder_layers],
        buckets: config.position_buckets,
        farthest: config.farthest_position,
        activation: if config.gated { Pointwise::GeluTanh } else { Pointwise::Relu },
        gated: config.gated,
        factor: if config.scale_output { (config.hidden as f64).sqrt().recip() } else { 1.0 },
        tables,
    }
}

fn case(config: &Config, seed: u64) -> Case {
    Case::new(T5::new(config.clone()).unwrap(), 0.6, seed)
}

/// The logits `[B, T, W]` of a case's batch.
fn logits(config: &Config, case: &Case, named: &Named) -> Vec<f64> {
    let reference = reference(config, named);
    case.logits(|source, target| reference.decode(&reference.encode(source), target))
}

#[test]
fn every_combination_agrees_with_the_reference() {
    for (index, config) in configs().iter().enumerate() {
        let case = case(config, index as u64);
        assert_agrees(config, &case, [2, index as u64], |named| logits(config, &case, named));
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    for config in configs().iter().step_by(4) {
        let case = case(config, 1);
        assert_agrees_in_every_form(config, &case, &logits(config, &case, &case.named()));
    }
}

/// The caches and the biases of each step are those of the whole pass, past the farthest position.
#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    for (index, config) in configs().iter().enumerate().step_by(2) {
        let config = Config { max_length: 20, ..config.clone() };
        let case = case(&config, 100 + index as u64);
        let (named, model) = (case.named(), case.model(common::gpu()));
        let reference = reference(&config, &named);
        let logits = |source: &[u32], target: &[u32]| reference.decode(&reference.encode(source), target);
        assert_steps_are_the_whole_pass(&config, &model, &case.sources(), logits);
    }
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (fields, wrong) in [
        (["head_size", "256"], Config { head_size: 257, ..right.clone() }),
        (["position_buckets", "each direction"], Config { position_buckets: 7, ..right.clone() }),
        (["farthest_position", "position_buckets"], Config { farthest_position: 16, ..right.clone() }),
        (["source_vocabulary", "target_vocabulary"], Config { shared_embeddings: true, ..right.clone() }),
        (["epsilon", "above 0"], Config { epsilon: 0.0, ..right.clone() }),
        (["dropout", "less than 1"], Config { dropout: 1.0, ..right.clone() }),
    ] {
        match T5::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    let without = ModelOptions { readout: Readout::None, ..ModelOptions::default() };
    let message = Kind::named("t5").unwrap().make(&without, [9, 8]).unwrap_err().to_string();
    assert!(message.contains("readout"), "{message}");
}

/// The fields of published configurations, of which older ones lack some.
#[test]
fn configurations_are_read_as_the_library_reads_them() {
    let text = r#"{"model_type": "t5", "vocab_size": 9, "d_model": 8, "d_kv": 3, "d_ff": 5, "num_layers": 2, "num_heads": 2,
        "relative_attention_num_buckets": 8, "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1, "pad_token_id": 0,
        "eos_token_id": 1, "decoder_start_token_id": 0}"#;
    let read = |text: &str| Import::of(text, "config.json").and_then(|import| import.network(text, "config.json"));
    let config = |text: &str| -> Config { serde_json::from_str(&read(text).unwrap().config().unwrap()).unwrap() };
    let old = config(text);
    assert_eq!((old.decoder_layers, old.farthest_position, old.max_length), (2, 128, 512));
    assert_eq!((old.gated, old.tie_embeddings, old.scale_output), (false, true, true));
    assert_eq!(old.specials, Specials { pad: 0, bos: 0, eos: 1, unk: u32::MAX });
    let with = |more: &str| text.replace("\"num_layers\"", &format!("{more}, \"num_layers\""));
    let newer =
        config(&with(r#""feed_forward_proj": "gated-gelu", "tie_word_embeddings": false, "num_decoder_layers": 3"#));
    assert_eq!((newer.decoder_layers, newer.gated, newer.activation), (3, true, Nonlinearity::GeluTanh));
    assert_eq!((newer.tie_embeddings, newer.scale_output), (false, false));
    assert_eq!(config(&with(r#""feed_forward_proj": "gated-silu""#)).activation, Nonlinearity::Swish);
    let message = read(&with(r#""feed_forward_proj": "gated-mish""#)).unwrap_err().to_string();
    assert!(message.contains("config.json") && message.contains("gated-mish"), "{message}");
}
