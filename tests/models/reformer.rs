//! Reformer beside its golden cases: memory that does not grow with depth, padding that counts for nothing, and what is refused.

use softalign::{
    Error,
    batch::{Batch, BatchShape, Specials},
    generate::{Generator, SearchOptions},
    gpu::Dtype,
    graph::{Program, ProgramOptions, Targets},
    kernels::Step,
    model::{
        Forward, Import, Kind, Layers, ModelOptions, Network, Regularisation,
        reformer::{AttentionKind, Axial, Config, Reformer},
    },
};

use crate::common::{
    self,
    models::{Case, assert_steps_are_the_whole_pass, whole_pass},
};

fn config() -> Config {
    Config {
        hidden: 10,
        heads: 2,
        head_size: 5,
        feed_forward: 12,
        attention: vec![AttentionKind::Local, AttentionKind::Lsh],
        local_chunk: 3,
        lsh_chunk: 4,
        buckets: vec![4],
        max_length: 24,
        ..Config::new(9)
    }
}

/// The logits of a batch.
fn logits(network: &Network, batch: &Batch) -> Vec<f32> {
    let model = Case::new(network.clone(), 0.7, 1).model(common::gpu());
    let mut layers = Layers::new();
    let Forward { logits, .. } = network.forward(&mut layers, batch.shape).unwrap();
    let outputs = [logits];
    let options =
        ProgramOptions { parameters: Some(&model.parameters), outputs: &outputs, ..ProgramOptions::default() };
    let mut program = Program::compile(common::gpu(), &layers.graph, &options).unwrap();
    program.stage(batch).unwrap();
    program.run(Step::default()).unwrap();
    program.read(logits).unwrap()
}

/// Bytes of a training step's activations, and of what it keeps of each layer that hashes.
fn slots(layers: usize) -> u64 {
    let attention = [AttentionKind::Local, AttentionKind::Lsh].repeat(layers / 2);
    let network = Reformer::new(Config { attention, dropout: 0.1, ..config() }).unwrap();
    let model = Case::new(network.clone(), 0.7, 1).model(common::gpu());
    let mut layers = Layers::training(&Regularisation::default(), Dtype::F32);
    let shape = BatchShape::new(4, 0, 24);
    let Forward { logits, targets, .. } =
        softalign::model::Architecture::forward(&*network, &mut layers, shape).unwrap();
    let used: Vec<_> = layers.used().iter().map(|(_, value)| *value).collect();
    let mut graph = layers.graph;
    let loss = graph.cross_entropy(logits, Targets::new(targets, 0), 0.0).unwrap();
    let gradients = graph.gradients(loss, &used).unwrap();
    let kept = [&[loss], gradients.as_slice()].concat();
    let options = ProgramOptions { parameters: Some(&model.parameters), outputs: &kept, ..ProgramOptions::default() };
    Program::compile(common::gpu(), &graph, &options).unwrap().memory().slots
}

/// Of a layer there is left but what decides whom positions see: the buckets of 2 heads and 2 hashes.
#[test]
fn memory_grows_by_buckets_alone() {
    let buckets = 4 * 2 * 2 * 24 * 4;
    assert_eq!(slots(8) - slots(4), 2 * buckets);
}

#[test]
fn padding_counts_for_nothing() {
    let network: Network = Reformer::new(config()).unwrap();
    let tokens: Vec<u32> = (0..10).map(|step| 3 + step * 5 % 6).collect();
    // Texts of 10 are padded to 12, chunks of 3 and of 4; so are those in rows of 12.
    let [short, long] = [10, 12].map(|steps| {
        let mut batch = Batch::filler(BatchShape::new(2, 0, steps), Specials::FIRST);
        batch.put_cut_target(1, &tokens);
        logits(&network, &batch)
    });
    let row = 10 * 9;
    assert_eq!(short[row..2 * row], long[12 * 9..12 * 9 + row]);
    assert!(short.iter().all(|logit| logit.is_finite()), "rows of filler hide nothing");
}

/// A search reads each text anew: by itself, and padded as a text of its length is.
#[test]
fn steps_are_passes_over_the_texts_so_far() {
    let config = Config { max_length: 20, axial: Some(Axial { shape: [4, 5], sizes: [4, 6] }), ..config() };
    for buckets in [vec![4], vec![2, 4]] {
        let config = Config { buckets, ..config.clone() };
        let model = Case::new(Reformer::new(config.clone()).unwrap(), 0.7, 1).model(common::gpu());
        let last = |text: &[u32]| {
            let logits = whole_pass(&model, &[], text);
            logits[logits.len() - config.vocabulary..].to_vec()
        };
        let logits = |_: &[u32], text: &[u32]| (1..=text.len()).flat_map(|length| last(&text[..length])).collect();
        assert_steps_are_the_whole_pass(&config, &model, &[vec![]], logits);
        let attended = SearchOptions { attended: true, ..SearchOptions::default() };
        assert!(matches!(Generator::new(&model).generate(&[vec![]], &attended), Err(Error::Data { .. })));
    }
}

#[test]
fn refuses_what_is_no_model() {
    let axial = |shape, sizes| Some(Axial { shape, sizes });
    for (fields, wrong) in [
        (["head_size", "256"], Config { head_size: 257, ..config() }),
        (["attention", "from 1"], Config { attention: vec![], ..config() }),
        (["buckets", "even"], Config { buckets: vec![4, 3], ..config() }),
        (["buckets", "even"], Config { buckets: vec![0], ..config() }),
        (["buckets", "from 1"], Config { buckets: vec![2; 5], ..config() }),
        (["axial", "hidden"], Config { axial: axial([4, 6], [4, 5]), ..config() }),
        (["axial", "max_length"], Config { axial: axial([4, 5], [4, 6]), ..config() }),
        (["axial", "from 1"], Config { axial: axial([0, 5], [4, 6]), ..config() }),
        (["local_chunk", "lsh_chunk"], Config { local_chunk: 1 << 23, lsh_chunk: (1 << 23) - 1, ..config() }),
        (["hashes", "from 1"], Config { hashes: 0, ..config() }),
        (["epsilon", "above 0"], Config { epsilon: 0.0, ..config() }),
    ] {
        match Reformer::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{fields:?}: {message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    let network = Kind::named("reformer").unwrap().make(&ModelOptions::default(), [0, 9]).unwrap();
    assert_eq!(network.limits().target_vocabulary, 9);
}

#[test]
fn configurations_that_no_model_here_has_are_named() {
    let text = r#"{"model_type": "reformer", "vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2,
        "attention_head_size": 3, "feed_forward_size": 5, "attn_layers": ["lsh", "local"], "local_attn_chunk_length": 4,
        "local_num_chunks_before": 1, "local_num_chunks_after": 0, "lsh_attn_chunk_length": 6, "lsh_num_chunks_before": 2,
        "lsh_num_chunks_after": 0, "num_hashes": 3, "num_buckets": [2, 4], "hash_seed": null, "axial_pos_embds": true,
        "axial_pos_shape": [4, 6], "axial_pos_embds_dim": [3, 5], "max_position_embeddings": 100, "hidden_act": "relu",
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.05, "local_attention_probs_dropout_prob": 0.1,
        "lsh_attention_probs_dropout_prob": 0.2, "is_decoder": true, "eos_token_id": 2, "pad_token_id": 0}"#;
    let read = |text: &str| Import::of(text, "config.json").and_then(|import| import.network(text, "config.json"));
    let config: Config = serde_json::from_str(&read(text).unwrap().config().unwrap()).unwrap();
    assert_eq!(config.attention, [AttentionKind::Lsh, AttentionKind::Local]);
    assert_eq!((config.lsh_before, config.hashes, config.buckets, config.max_length), (2, 3, vec![2, 4], 24));
    assert_eq!([config.dropout, config.local_dropout, config.lsh_dropout], [0.05, 0.1, 0.2]);
    assert_eq!(config.specials, Specials { pad: 0, bos: 2, eos: 2, unk: u32::MAX });
    for (part, other, named) in [
        ("\"is_decoder\": true", "\"is_decoder\": false", "is_decoder"),
        ("\"local_num_chunks_after\": 0", "\"local_num_chunks_after\": 1", "local_num_chunks_after"),
        ("\"lsh_num_chunks_after\": 0", "\"lsh_num_chunks_after\": 1", "lsh_num_chunks_after"),
        ("\"axial_pos_shape\": [4, 6],", "", "axial_pos_shape"),
        ("[\"lsh\", \"local\"]", "[\"lsh\", \"global\"]", "global"),
    ] {
        let message = read(&text.replace(part, other)).unwrap_err().to_string();
        assert!(message.contains("config.json") && message.contains(named), "{message}");
    }
    let free = text.replace("[2, 4], \"hash", "null, \"hash");
    let config: Config = serde_json::from_str(&read(&free).unwrap().config().unwrap()).unwrap();
    assert_eq!(config.buckets, [8], "a text of 24 has four chunks of 6");
}
