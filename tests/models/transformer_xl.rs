//! Transformer-XL beside its golden cases: memories that make segments one text, steps through the caches, and what is refused.

use softalign::{
    Error,
    batch::Specials,
    generate::{Generator, SearchOptions},
    gpu::Dtype,
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{
        Import, Kind, Layers, ModelOptions,
        transformer_xl::{Config, TransformerXl},
    },
};

use crate::common::{
    self,
    models::{Case, assert_steps_are_the_whole_pass, whole_pass},
};

fn config() -> Config {
    Config {
        hidden: 12,
        heads: 3,
        head_size: 5,
        feed_forward: 10,
        layers: 2,
        segment: 24,
        memory: 24,
        max_length: 24,
        ..Config::new(9)
    }
}

fn case(config: &Config) -> Case {
    Case::new(TransformerXl::new(config.clone()).unwrap(), 0.7, 1)
}

/// With a memory as long as all that is before it, a segment sees what a whole pass does; with a shorter one it does not.
#[test]
fn segments_with_their_memory_are_one_text() {
    let tokens: Vec<u32> = (0..11).map(|step| 3 + step * 5 % 6).collect();
    let whole = whole_pass(&case(&config()).model(common::gpu()), &[], &tokens);
    for (segment, memory, same) in [(4, 24, true), (1, 11, true), (11, 0, true), (4, 4, false), (4, 0, false)] {
        for farthest_position in [0, 20] {
            let config = Config { segment, memory, farthest_position, ..config() };
            let found = whole_pass(&case(&config).model(common::gpu()), &[], &tokens);
            let error = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert_eq!(error < 1e-5, same, "{config:?}: {error}");
        }
    }
    // Past the farthest position all are the same.
    let config = Config { farthest_position: 3, ..config() };
    let found = whole_pass(&case(&config).model(common::gpu()), &[], &tokens);
    let differs = |range: std::ops::Range<usize>| range.into_iter().any(|at| (found[at] - whole[at]).abs() > 1e-4);
    assert!(!differs(0..4 * 9) && differs(4 * 9..11 * 9), "{found:?}");
}

/// A memory is a constant: words that a later segment reads out of it alone get no gradient.
#[test]
fn no_gradient_reaches_a_memory() {
    let model = TransformerXl::new(config()).unwrap();
    let parameters = Case::new(model.clone(), 0.7, 1).model(common::gpu()).parameters;
    let mut layers = Layers::new();
    let [first, second] = ["first", "second"].map(|name| layers.graph.input(name, [1, 3], Dtype::U32));
    let words = model.embed(&mut layers, first).unwrap();
    let before = model.segment(&mut layers, words, &[]).unwrap();
    let words = model.embed(&mut layers, second).unwrap();
    let states = model.segment(&mut layers, words, &before.memory).unwrap().states;
    let (name, table) = layers.used()[0].clone();
    assert_eq!(name, "transformer.word_emb.emb_layers.0.weight");
    let mut graph = layers.graph;
    let upstream = graph.input("upstream", [1, 3, 12], Dtype::F32);
    let gradient = graph.gradients_from(&[(states, upstream)], &[table]).unwrap()[0];
    let kept = [states, gradient];
    let options = ProgramOptions { parameters: Some(&parameters), outputs: &kept, ..ProgramOptions::default() };
    let mut program = Program::compile(common::gpu(), &graph, &options).unwrap();
    let up: Vec<f32> = (0..36).map(|at| (at as f32 * 0.7).sin()).collect();
    let mut run = |first: [u32; 3]| -> [Vec<f32>; 2] {
        program.write("first", &first).unwrap();
        program.write("second", &[7_u32, 8, 7]).unwrap();
        program.write("upstream", &up).unwrap();
        program.run(Step::default()).unwrap();
        kept.map(|value| program.read(value).unwrap())
    };
    let [[states, gradient], [others, _]] = [run([4, 5, 6]), run([6, 6, 4])];
    assert_ne!(states, others, "what is remembered counts");
    let is_zero = |token: usize| gradient[token * 12..][..12].iter().all(|value| *value == 0.0);
    assert!((0..7).all(is_zero) && !is_zero(7) && !is_zero(8), "{gradient:?}");
}

#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    for (segment, memory, shared_biases, farthest_position) in [(24, 24, false, 0), (5, 3, true, 4), (3, 0, false, 0)] {
        let config = Config { segment, memory, shared_biases, farthest_position, ..config() };
        let model = case(&config).model(common::gpu());
        let logits = |_: &[u32], target: &[u32]| whole_pass(&model, &[], target);
        assert_steps_are_the_whole_pass(&config, &model, &[vec![]], logits);
        let attended = SearchOptions { attended: true, ..SearchOptions::default() };
        assert!(matches!(Generator::new(&model).generate(&[vec![]], &attended), Err(Error::Data { .. })));
    }
}

#[test]
fn refuses_what_is_no_model() {
    for (fields, wrong) in [
        (["head_size", "256"], Config { head_size: 257, ..config() }),
        (["hidden", "positions"], Config { hidden: 13, ..config() }),
        (["segment", "from 1"], Config { segment: 0, ..config() }),
        (["epsilon", "above 0"], Config { epsilon: 0.0, ..config() }),
        (["dropout", "less than 1"], Config { dropout: 1.0, ..config() }),
    ] {
        match TransformerXl::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    let network = Kind::named("transformer-xl").unwrap().make(&ModelOptions::default(), [0, 9]).unwrap();
    assert_eq!(network.limits().target_vocabulary, 9);
}

#[test]
fn configurations_that_no_model_here_has_are_named() {
    let text = r#"{"model_type": "transfo-xl", "vocab_size": 9, "cutoffs": [], "d_model": 8, "d_embed": 8, "n_head": 2,
        "d_head": 3, "d_inner": 5, "pre_lnorm": false, "n_layer": 1, "mem_len": 4, "clamp_len": 7, "same_length": false,
        "attn_type": 0, "dropout": 0.1, "dropatt": 0.0, "untie_r": false, "eos_token_id": 0}"#;
    let read = |text: &str| Import::of(text, "config.json").and_then(|import| import.network(text, "config.json"));
    let config: Config = serde_json::from_str(&read(text).unwrap().config().unwrap()).unwrap();
    assert_eq!((config.memory, config.farthest_position, config.shared_biases), (4, 7, true));
    assert_eq!(config.specials, Specials { pad: u32::MAX, bos: 0, eos: 0, unk: u32::MAX });
    for (part, other, named) in [
        ("\"cutoffs\": []", "\"cutoffs\": [4]", "cutoffs"),
        ("\"d_embed\": 8", "\"d_embed\": 4", "d_embed"),
        ("\"pre_lnorm\": false", "\"pre_lnorm\": true", "pre_lnorm"),
        ("\"dropatt\": 0.0", "\"dropatt\": 0.1", "dropatt"),
    ] {
        let message = read(&text.replace(part, other)).unwrap_err().to_string();
        assert!(message.contains("config.json") && message.contains(named), "{message}");
    }
}
