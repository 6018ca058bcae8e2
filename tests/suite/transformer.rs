//! The Transformer against its reference: normalised before and after, with positions and tables of every kind.

use std::collections::BTreeMap;

use crate::common;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Error, Gpu,
    generate::{Generator, Hypothesis, SearchOptions},
    gpu::Dtype,
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture as _, BatchShape, Forward, Kind, Layers, ModelOptions, Network, Nonlinearity, NormOrder,
        PositionKind, Readout, Regularisation, TokenModel,
        transformer::{Config, Transformer},
        zeros,
    },
    reference::{self, seq2seq::Named},
    train::TrainingGraph,
};

const SHAPE: [usize; 3] = [3, 6, 4];
const LENGTHS: [u32; 3] = [6, 2, 1];
const TARGET_IN: [u32; 12] = [1, 4, 7, 3, 1, 6, 0, 0, 1, 5, 5, 0];
const TARGET_OUT: [u32; 12] = [4, 7, 3, 2, 6, 2, 0, 0, 5, 5, 2, 0];
const TOKENS: f64 = 9.0;

/// A model for each place of the norm, kind of position and sharing of tables.
fn configs() -> Vec<Config> {
    let mut all = Vec::new();
    for norm in [NormOrder::Pre, NormOrder::Post] {
        for (positions, position_offset) in
            [(PositionKind::Sinusoidal, 0), (PositionKind::SinesFirst, 0), (PositionKind::Learned, 2)]
        {
            for (shared_embeddings, tie_embeddings) in [(false, false), (false, true), (true, true)] {
                let learned = positions == PositionKind::Learned;
                all.push(Config {
                    hidden: 12,
                    heads: 3,
                    encoder_feed_forward: 7,
                    decoder_feed_forward: 9,
                    encoder_layers: 2,
                    decoder_layers: 1 + usize::from(shared_embeddings),
                    norm,
                    positions,
                    position_offset,
                    activation: if learned { Nonlinearity::Swish } else { Nonlinearity::Relu },
                    embedding_norm: learned,
                    scale_embeddings: !learned,
                    shared_embeddings,
                    tie_embeddings,
                    output_bias: shared_embeddings,
                    max_length: 8,
                    ..Config::new(9, if shared_embeddings { 9 } else { 8 })
                });
            }
        }
    }
    all
}

fn reference<'a>(config: &Config, parameters: &'a Named) -> reference::transformer::Transformer<'a> {
    use reference::transformer::{Nonlinearity as Activation, Positions, Transformer};
    let tables = match (config.shared_embeddings, config.tie_embeddings) {
        (true, _) => ["model.shared.weight"; 3],
        (false, tied) => {
            let (source, target) = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight");
            [source, target, if tied { target } else { "lm_head.weight" }]
        }
    };
    Transformer {
        parameters,
        hidden: config.hidden,
        heads: config.heads,
        layers: [config.encoder_layers, config.decoder_layers],
        norm_first: config.norm == NormOrder::Pre,
        positions: match config.positions {
            PositionKind::Sinusoidal => Positions::Sinusoidal,
            PositionKind::SinesFirst => Positions::SinesFirst,
            PositionKind::Learned => Positions::Learned { first: config.position_offset },
        },
        activation: match config.activation {
            Nonlinearity::Swish => Activation::Swish,
            _ => Activation::Relu,
        },
        embedding_norm: config.embedding_norm,
        factor: if config.scale_embeddings { (config.hidden as f64).sqrt() } else { 1.0 },
        tables,
    }
}

/// A model's parameters, and a source.
struct Case {
    config: Config,
    values: Vec<(String, Vec<f32>)>,
    source: Vec<u32>,
}

impl Case {
    fn new(config: &Config, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: usize| (0..count).map(|_| random.random_range(-0.6_f32..0.6)).collect();
        let parameters = Transformer::new(config.clone()).unwrap().parameters().into_iter();
        let values = parameters.map(|one| (one.name, draw(one.shape.elements()))).collect();
        let source = (0..SHAPE[0] * SHAPE[1]).map(|_| random.random_range(4..config.source_vocabulary as u32));
        Self { config: config.clone(), values, source: source.collect() }
    }

    fn named(&self) -> Named {
        let widen = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
        self.values.iter().map(|(name, values)| (name.clone(), widen(values))).collect()
    }

    /// The logits `[B, T, W]`.
    fn logits(&self, named: &Named) -> Vec<f64> {
        let reference = reference(&self.config, named);
        let sources = self.source.chunks(SHAPE[1]).zip(LENGTHS).map(|(source, length)| &source[..length as usize]);
        sources
            .zip(TARGET_IN.chunks(SHAPE[2]))
            .flat_map(|(source, target)| reference.decode(&reference.encode(source), target))
            .collect()
    }

    /// The mean loss of the tokens that are not padding.
    fn loss(&self, named: &Named) -> f64 {
        let logits = self.logits(named);
        let steps = logits.chunks(self.config.target_vocabulary).zip(TARGET_OUT).filter(|(_, target)| *target != 0);
        let losses = steps.map(|(logits, target)| {
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            total.ln() - logits[target as usize]
        });
        losses.sum::<f64>() / TOKENS
    }
}

/// Logits and loss of a model on a device, and the gradient of each parameter by name.
struct Found {
    logits: Vec<f32>,
    loss: f32,
    gradients: Vec<(String, Vec<f32>)>,
}

fn found(gpu: &Gpu, precision: Dtype, case: &Case) -> Found {
    let network = Transformer::new(case.config.clone()).unwrap();
    let mut layers = Layers::training(&Regularisation::default(), precision);
    let shape = BatchShape { rows: SHAPE[0], source: SHAPE[1], target: SHAPE[2] };
    let Forward { logits, targets, .. } = network.forward(&mut layers, shape).unwrap();
    let (names, used): (Vec<_>, Vec<_>) = layers.used().iter().cloned().unzip();
    let mut graph = layers.graph;
    let targets = softalign::graph::Targets { tokens: targets, padding: 0 };
    let loss = graph.cross_entropy(logits, targets, 0.0).unwrap();
    let gradients = graph.gradients(loss, &used).unwrap();
    let parameters = zeros(gpu, &network.parameters()).unwrap();
    for (name, values) in &case.values {
        gpu.write(&parameters.tensor(name).unwrap(), values).unwrap();
    }
    let kept = [&[logits, loss], gradients.as_slice()].concat();
    let options = ProgramOptions {
        label: format!("{:?}", case.config),
        parameters: Some(&parameters),
        outputs: &kept,
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    program.write("source", &case.source).unwrap();
    for (name, words) in [("lengths", &LENGTHS[..]), ("target_in", &TARGET_IN), ("target_out", &TARGET_OUT)] {
        program.write(name, words).unwrap();
    }
    program.run(Step { loss_scale: 1.0 / TOKENS as f32, ..Step::default() }).unwrap();
    let read = |value| gpu.read_floats(program.tensor(value).unwrap()).unwrap();
    assert_eq!(names.len(), case.values.len(), "every parameter is used");
    Found {
        logits: read(logits),
        loss: read(loss)[0],
        gradients: names.into_iter().zip(gradients.into_iter().map(read)).collect(),
    }
}

#[test]
fn every_combination_agrees_with_the_reference() {
    for (index, config) in configs().iter().enumerate() {
        let case = Case::new(config, index as u64);
        let found = found(common::gpu(), Dtype::F32, &case);
        let mut named = case.named();
        common::assert_close("logits", config, &found.logits, &case.logits(&named), 2e-5);
        common::assert_close("loss", config, &[found.loss], &[case.loss(&named)], 2e-5);
        // Central differences of two values of each parameter.
        let mut random = ChaCha8Rng::seed_from_u64(index as u64);
        for (name, gradient) in &found.gradients {
            let largest = gradient.iter().fold(1e-3_f32, |largest, x| largest.max(x.abs()));
            for _ in 0..2 {
                let at = random.random_range(0..gradient.len());
                let value = named[name][at];
                let mut loss_at = |x: f64| {
                    named.get_mut(name).unwrap()[at] = x;
                    case.loss(&named)
                };
                const STEP: f64 = 1e-5;
                let expected = (loss_at(value + STEP) - loss_at(value - STEP)) / (2.0 * STEP);
                loss_at(value);
                let error = (f64::from(gradient[at]) - expected).abs() / f64::from(largest);
                assert!(error < 1e-4, "{name}[{at}] of {config:?}: {}, expected {expected}", gradient[at]);
            }
        }
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    for (gpu, precision) in common::forms() {
        for config in configs().iter().step_by(7) {
            let case = Case::new(config, 1);
            let tolerance = if precision == Dtype::F16 { 2e-2 } else { 2e-5 };
            let found = found(gpu, precision, &case);
            common::assert_close("logits", config, &found.logits, &case.logits(&case.named()), tolerance);
            assert!(found.gradients.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
        }
    }
}

/// Batches are padded, and every place needs a learned vector.
#[test]
fn learned_positions_reach_to_padded_lengths() {
    let settings = BTreeMap::from([("positions".to_owned(), "learned".to_owned())]);
    let options = ModelOptions { max_length: 51, settings, ..ModelOptions::default() };
    let network = Kind::named("transformer").unwrap().make(&options, [9, 8]).unwrap();
    assert_eq!(network.limits().max_length, 56);
    let message = Kind::named("transformer")
        .unwrap()
        .make(&ModelOptions { readout: Readout::None, ..ModelOptions::default() }, [9, 8])
        .unwrap_err()
        .to_string();
    assert!(message.contains("readout"), "{message}");
    let states = Regularisation { dropout_state: 0.1, ..Regularisation::default() };
    let refused = TrainingGraph::new(network.as_ref(), BatchShape::new(2, 4, 4), &states, Dtype::F32);
    assert!(matches!(refused, Err(Error::Data { ref path, .. }) if path.contains("dropout_state")), "{refused:?}");
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (fields, wrong) in [
        (["heads", "hidden"], Config { heads: 3, ..right.clone() }),
        (["heads", "from 1"], Config { heads: 0, ..right.clone() }),
        (["hidden", "positions"], Config { hidden: 255, heads: 5, ..right.clone() }),
        (["source_vocabulary", "target_vocabulary"], Config { shared_embeddings: true, ..right.clone() }),
        (["attention_dropout", "less than 1"], Config { attention_dropout: 1.0, ..right.clone() }),
        (["decoder_layers", "from 1"], Config { decoder_layers: 0, ..right.clone() }),
    ] {
        match Transformer::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
}

/// A model on a device with a case's parameters; sharper logits make choices that rounding does not turn.
fn model(case: &Case) -> (TokenModel, Named) {
    let network: Network = Transformer::new(case.config.clone()).unwrap();
    let parameters = zeros(common::gpu(), &network.parameters()).unwrap();
    let mut named = case.named();
    for (name, values) in &case.values {
        let factor = if name == "final_logits_bias" { 0.0 } else { 2.0 };
        let values: Vec<f32> = values.iter().map(|value| factor * value).collect();
        named.insert(name.clone(), values.iter().map(|value| f64::from(*value)).collect());
        common::gpu().write(&parameters.tensor(name).unwrap(), &values).unwrap();
    }
    (TokenModel { gpu: common::gpu().clone(), network, parameters }, named)
}

/// The log-probability of a text's tokens, and of its end.
fn log_probability(reference: &reference::transformer::Transformer<'_>, source: &[u32], text: &Hypothesis) -> f64 {
    let ended = text.finished.then_some(2);
    let tokens: Vec<u32> = text.tokens.iter().copied().chain(ended).collect();
    let target_in: Vec<u32> = [1].into_iter().chain(tokens.iter().copied()).take(tokens.len()).collect();
    let logits = reference.decode(&reference.encode(source), &target_in);
    let classes = logits.len() / tokens.len();
    let gains = logits.chunks(classes).zip(&tokens).map(|(logits, token)| {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits[*token as usize] - total.ln()
    });
    gains.sum()
}

/// The caches hold what the teacher-forced pass computes: by itself, and in beams whose hypotheses change places.
#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    for (index, config) in configs().iter().enumerate().step_by(4) {
        let case = Case::new(&Config { max_length: 20, ..config.clone() }, 100 + index as u64);
        let (model, named) = model(&case);
        let reference = reference(&case.config, &named);
        let mut generator = Generator::new(&model);
        let sources: Vec<Vec<u32>> = case.source.chunks(SHAPE[1]).map(|row| [row, &[2]].concat()).collect();
        for beam in [1, 4] {
            let options =
                SearchOptions { n_best: beam, attended: true, max_length: Some(19), ..SearchOptions::beam(beam) };
            let found = generator.generate(&sources, &options).unwrap();
            for (source, texts) in sources.iter().zip(&found) {
                assert!(!texts.is_empty());
                for text in texts {
                    let expected = log_probability(&reference, source, text);
                    let error = (f64::from(text.score) - expected).abs() / expected.abs().max(1.0);
                    assert!(error < 2e-5, "beam {beam} of {config:?}: {text:?}, expected {expected}");
                    let weights = generator.alignment(source, &text.tokens).unwrap();
                    for (row, position) in weights.chunks(source.len()).zip(&text.attended) {
                        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
                        let largest = row.iter().fold(0.0_f32, |largest, weight| largest.max(*weight));
                        assert!(row[*position as usize] > largest - 1e-5, "{row:?}, {position}");
                    }
                }
            }
        }
    }
}
