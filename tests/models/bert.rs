//! BERT, RoBERTa and Longformer beside their golden cases: what is refused, and what their limits say.

use softalign::{
    Error,
    batch::{Batch, BatchShape, MOST_GLOBALS, Specials},
    model::{
        Architecture, Import, Kind, Learns, ModelOptions,
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
        ("`windows` has 1 numbers; a bert", Config { windows: vec![2], ..Config::new(9) }),
        ("a longformer of 4 layers has 4", Config { architecture: "longformer".into(), ..Config::new(9) }),
        ("windows is 0", Config { architecture: "longformer".into(), windows: vec![2, 2, 0, 2], ..Config::new(9) }),
    ] {
        let message = refusal(Bert::new(wrong));
        assert!(message.contains(field), "{message}");
    }
    let unnamed = Config { named: true, ..Config::new(9) };
    assert!(refusal(Bert::new(unnamed)).contains("`head` is not `classify`"));
    let masked = Config { mask: Some(9), ..Config::new(9) };
    assert!(refusal(Bert::new(masked)).contains("`mask` is a token"));
    let message =
        refusal(Kind::named("longformer").unwrap().make_for(Learns::Spans, &ModelOptions::default(), [9, 11]));
    assert!(message.contains("learns from texts and their classes") && message.contains("bert, roberta"), "{message}");
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

#[test]
fn windows_are_those_of_every_layer_or_of_each() {
    let config = r#"{"model_type": "longformer", "architectures": ["LongformerModel"], "vocab_size": 9, "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 34, "type_vocab_size": 1,
        "pad_token_id": 1, "attention_window": 6}"#;
    let read = |text: &str| Import::of(text, "config.json").and_then(|import| import.network(text, "config.json"));
    let network = read(config).unwrap();
    assert_eq!((network.name(), network.limits().max_length), ("longformer", 32));
    let compact = |text: String| text.split_whitespace().collect::<String>();
    assert!(compact(network.config().unwrap()).contains("\"windows\":[3,3],"));
    let counterpart = network.counterpart().unwrap();
    assert!(compact(counterpart.config).contains("\"attention_window\":[6,6]"));
    let global = network.parameters().iter().filter(|parameter| parameter.name.contains("_global.")).count();
    assert_eq!(global, 2 * 3 * 2);
    for (windows, named) in [("[6]", "`windows` has 1 numbers"), ("[6, 5]", "odd number 5"), ("0", "windows is 0")] {
        let message =
            refusal(read(&config.replace("\"attention_window\": 6", &format!("\"attention_window\": {windows}"))));
        assert!(message.contains("config.json") && message.contains(named), "{message}");
    }
}

#[test]
fn global_positions_are_listed_in_order() {
    let mut batch = Batch::filler(BatchShape::new(2, 9, 9), Specials::default());
    batch.put_globals(1, &[5, 0, 5]).unwrap();
    let (none, listed) = batch.globals.split_at(MOST_GLOBALS);
    assert!(none.iter().all(|position| *position == u32::MAX));
    assert_eq!(listed[..3], [0, 5, u32::MAX]);
    let many: Vec<u32> = (0..=MOST_GLOBALS as u32).collect();
    let message = refusal(batch.put_globals(0, &many));
    assert!(message.contains("row 0") && message.contains("65") && message.contains("64"), "{message}");
}
