//! BERT and RoBERTa beside their golden cases: what is refused, and what their limits say.

use softalign::{
    Error,
    model::{
        Architecture, Import, Kind, ModelOptions,
        bert::{Bert, Config, Head},
    },
};

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn refuses_what_is_no_model() {
    for (field, wrong) in [
        ("heads", Config { heads: 3, ..Config::new(9) }),
        ("a head", Config { heads: 1, hidden: 512, ..Config::new(9) }),
        ("architecture", Config { architecture: "bart".into(), ..Config::new(9) }),
        ("segments", Config { segments: 0, ..Config::new(9) }),
        ("epsilon", Config { epsilon: f32::NAN, ..Config::new(9) }),
    ] {
        let message = refusal(Bert::new(wrong));
        assert!(message.contains(field), "{message}");
    }
    let message = refusal(Kind::named("bert").unwrap().make(&ModelOptions::default(), [9, 11]));
    assert!(message.contains("pairs") && message.contains("transformer"), "{message}");
}

#[test]
fn only_tokens_can_be_padding() {
    let limits = |head| Bert::new(Config { head, classes: 3, ..Config::new(9) }).unwrap().limits();
    assert_eq!((limits(Head::Masked).target_vocabulary, limits(Head::Masked).padding), (9, 0));
    assert_eq!((limits(Head::Classify).target_vocabulary, limits(Head::Classify).padding), (3, u32::MAX));
    assert_eq!((limits(Head::Span).target_vocabulary, limits(Head::Span).padding), (256, u32::MAX));
    assert_eq!(limits(Head::Span).specials.pad, 0);
}

#[test]
fn configurations_that_no_model_here_has_are_named() {
    let config = r#"{"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 9, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 16, "type_vocab_size": 2,
        "pad_token_id": 0}"#;
    let read = |text: &str| Import::of(text, "config.json").and_then(|import| import.network(text, "config.json"));
    assert_eq!(read(config).unwrap().limits().max_length, 16);
    for (part, other, named) in [
        ("\"bert\"", "\"electra\"", "electra"),
        ("BertForMaskedLM", "BertForPreTraining", "BertForPreTraining"),
        ("BertForMaskedLM", "RobertaForMaskedLM", "RobertaForMaskedLM"),
        ("\"gelu\"", "\"mish\"", "mish"),
        ("\"vocab_size\": 9, ", "", "vocab_size"),
        ("\"pad_token_id\": 0", "\"pad_token_id\": 0, \"position_embedding_type\": \"relative_key\"", "absolute"),
    ] {
        let message = refusal(read(&config.replace(part, other)));
        assert!(message.contains("config.json") && message.contains(named), "{message}");
    }
}
