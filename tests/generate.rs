//! Generation: greedy search step by step against the CPU reference, beams against every text there is, order, lengths,
//! alignments.

mod common;

use std::collections::HashMap;

use softalign::{
    Error, Gpu, GpuOptions,
    generate::{Generator, Hypothesis, SearchOptions},
    gpu::Counters,
    model::{Config, Model, Readout},
    reference::{
        attentional_decoder::{AttentionalDecoder, DecoderInputs},
        embedding::Embedding,
        gru::{Gru, GruWeights},
        matmul::{Activation, Matmul},
    },
    text::{BOS, EOS, TokenUnit, Tokenizer},
};

fn tokenizer(size: usize) -> Tokenizer {
    let text: String = ('a'..='z').take(size - 4).collect();
    Tokenizer::train(&TokenUnit::Chars, [text.as_str()].into_iter(), None).unwrap()
}

fn model(source: usize, target: usize, max_length: usize, readout: Readout, layers: usize, seed: u64) -> Model {
    model_on(common::gpu(), source, target, max_length, readout, layers, seed)
}

fn model_on(
    gpu: &Gpu,
    source: usize,
    target: usize,
    max_length: usize,
    readout: Readout,
    layers: usize,
    seed: u64,
) -> Model {
    // Sizes that wide loads serve, and sizes that they do not.
    let [embedding, hidden, attention] = if readout == Readout::None { [8, 16, 8] } else { [6, 10, 9] };
    let config = Config {
        embedding,
        hidden,
        attention,
        readout,
        readout_size: 7,
        encoder_layers: layers,
        max_length,
        ..Config::new(source, target)
    };
    let model = Model::new(gpu, config, tokenizer(source), tokenizer(target), seed).unwrap();
    // First values are small, and every text then nearly as good as any other: sharper ones make choices that rounding
    // does not turn.
    for name in ["output.weight", "attention.energy.weight"] {
        let tensor = model.parameters.tensor(name).unwrap();
        let values: Vec<f32> = model.gpu.read(&tensor).unwrap();
        model.gpu.write(&tensor, &values.iter().map(|value| 4.0 * value).collect::<Vec<_>>()).unwrap();
    }
    model
}

/// The model on the CPU, in f64, from its parameters by name.
struct Reference {
    config: Config,
    tensors: HashMap<String, Vec<f64>>,
}

struct Encoded {
    annotation: Vec<f64>,
    key: Vec<f64>,
    state: Vec<f64>,
    length: usize,
}

impl Reference {
    fn new(model: &Model) -> Self {
        let tensors = model.parameters.names().iter().map(|name| {
            let values: Vec<f32> = model.gpu.read(&model.parameters.tensor(name).unwrap()).unwrap();
            (name.clone(), values.into_iter().map(f64::from).collect())
        });
        Self { config: model.network.config().clone(), tensors: tensors.collect() }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    fn cell(&self, prefix: &str, suffix: &str) -> GruWeights {
        let part = |part: &str| self.get(&format!("{prefix}.{part}{suffix}")).to_vec();
        GruWeights {
            weight_ih: part("weight_ih"),
            weight_hh: part("weight_hh"),
            bias_ih: part("bias_ih"),
            bias_hh: part("bias_hh"),
        }
    }

    fn linear(&self, layer: &str, x: &[f64], n: usize, activation: Activation) -> Vec<f64> {
        let weight = self.get(&format!("{layer}.weight"));
        let k = weight.len() / n;
        let product = Matmul { m: x.len() / k, n, k, batch: 1, transpose_a: false, transpose_b: true, activation };
        product.forward(x, weight, Some(self.get(&format!("{layer}.bias"))))
    }

    fn encode(&self, source: &[u32]) -> Encoded {
        let Config { source_vocabulary, embedding, hidden, attention, encoder_layers, .. } = self.config;
        let length = source.len();
        let table = Embedding { vocabulary: source_vocabulary, size: embedding };
        let mut x = table.forward(self.get("encoder.embedding.weight"), source);
        let mut last = Vec::new();
        for layer in 0..encoder_layers {
            let input = x.len() / length;
            let gru = Gru { batch: 1, steps: length, input, hidden, directions: 2 };
            let weights = ["", "_reverse"].map(|way| self.cell("encoder.gru", &format!("_l{layer}{way}")));
            let outputs = gru.forward(&x, &vec![0.0; 2 * hidden], &[length as u32], &weights, None);
            (x, last) = (outputs.y, outputs.hn);
        }
        let state = self.linear("bridge", &last[hidden..], hidden, Activation::Tanh);
        let key = self.linear("attention.key", &x, attention, Activation::None);
        Encoded { annotation: x, key, state, length }
    }

    /// Log-probabilities of the next token after `<bos>` and `target`, and the alignment weights of every step.
    fn next(&self, encoded: &Encoded, target: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let Config { target_vocabulary, embedding, hidden, attention, readout, readout_size, .. } = self.config;
        let fed: Vec<u32> = std::iter::once(BOS).chain(target.iter().copied()).collect();
        let table = Embedding { vocabulary: target_vocabulary, size: embedding };
        let words = table.forward(self.get("decoder.embedding.weight"), &fed);
        let decoder = AttentionalDecoder {
            batch: 1,
            steps: fed.len(),
            keys: encoded.length,
            word: embedding,
            hidden,
            size: attention,
            annotation: 2 * hidden,
        };
        let outputs = decoder.forward(&DecoderInputs {
            words: &words,
            state0: &encoded.state,
            key: &encoded.key,
            annotation: &encoded.annotation,
            lengths: &[encoded.length as u32],
            query_weight: self.get("attention.query.weight"),
            energy: self.get("attention.energy.weight"),
            cell: &self.cell("decoder.cell", ""),
            mask: None,
        });
        let size = 3 * hidden + embedding;
        let mut features = outputs.features[(fed.len() - 1) * size..].to_vec();
        if readout == Readout::Tanh {
            features = self.linear("readout", &features, readout_size, Activation::Tanh);
        }
        let logits = self.linear("output", &features, target_vocabulary, Activation::None);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let logarithm = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        (logits.into_iter().map(|logit| logit - logarithm).collect(), outputs.weights)
    }

    fn greedy(&self, source: &[u32]) -> Hypothesis {
        let encoded = self.encode(source);
        let (mut tokens, mut score, mut finished) = (Vec::new(), 0.0, false);
        while tokens.len() < self.config.max_length && !finished {
            let (logarithms, _) = self.next(&encoded, &tokens);
            let best = (2..logarithms.len()).reduce(|a, b| if logarithms[b] > logarithms[a] { b } else { a }).unwrap();
            score += logarithms[best];
            finished = best as u32 == EOS;
            if !finished {
                tokens.push(best as u32);
            }
        }
        Hypothesis { tokens, score: score as f32, finished }
    }

    /// The score of every text of up to `steps` tokens, `<eos>` included: those that end, and those that are cut there.
    fn all(&self, source: &[u32], steps: usize) -> Vec<Hypothesis> {
        let encoded = self.encode(source);
        let (mut open, mut texts) = (vec![(Vec::new(), 0.0)], Vec::new());
        for step in 1..=steps {
            let mut longer = Vec::new();
            for (tokens, score) in open {
                let (logarithms, _) = self.next(&encoded, &tokens);
                for (token, logarithm) in logarithms.iter().enumerate().skip(2) {
                    let score: f64 = score + logarithm;
                    if token as u32 == EOS {
                        texts.push(Hypothesis { tokens: tokens.clone(), score: score as f32, finished: true });
                        continue;
                    }
                    let tokens: Vec<u32> = tokens.iter().copied().chain([token as u32]).collect();
                    if step == steps {
                        texts.push(Hypothesis { tokens, score: score as f32, finished: false });
                    } else {
                        longer.push((tokens, score));
                    }
                }
            }
            open = longer;
        }
        texts.sort_by(|a, b| b.score.total_cmp(&a.score));
        texts
    }
}

/// Sources of mixed lengths, `<eos>` at their end.
fn sources(count: usize, vocabulary: u32, longest: usize) -> Vec<Vec<u32>> {
    let number = |i: usize, j: usize| (i * 31 + j * 17 + i * j * 7) as u32;
    (0..count)
        .map(|i| {
            let length = (i * 13 + 5) % longest;
            (0..length).map(|j| 4 + number(i, j) % (vocabulary - 4)).chain([EOS]).collect()
        })
        .collect()
}

fn same(found: &Hypothesis, wanted: &Hypothesis) -> bool {
    found.tokens == wanted.tokens
        && found.finished == wanted.finished
        && (found.score - wanted.score).abs() < 2e-4 * wanted.score.abs().max(1.0)
}

#[test]
fn a_beam_of_one_is_a_greedy_search() {
    let portable = common::portable();
    for (gpu, readout, layers, seed) in [
        (common::gpu(), Readout::Tanh, 1, 3),
        (common::gpu(), Readout::None, 2, 4),
        (portable, Readout::None, 1, 5),
        (portable, Readout::Tanh, 1, 6),
    ] {
        let model = model_on(gpu, 14, 9, 21, readout, layers, seed);
        let reference = Reference::new(&model);
        let mut generator = Generator::new(&model);
        // One alone, a few and more than are decoded at once come in other shapes.
        for count in [1, 7, 12] {
            let sources = sources(count, 14, 21);
            let found = generator.generate(&sources, &SearchOptions::beam(1)).unwrap();
            assert_eq!(found.len(), count);
            for (source, found) in sources.iter().zip(found) {
                let wanted = reference.greedy(source);
                assert!(found.len() == 1 && same(&found[0], &wanted), "{source:?}: {found:?}, {wanted:?}");
            }
        }
    }
}

#[test]
fn a_wide_beam_finds_the_best_of_all_texts() {
    // Four tokens can be chosen (the end, the unknown and two letters), three times: a beam of 16 loses nothing.
    let model = model(8, 6, 3, Readout::Tanh, 1, 5);
    let reference = Reference::new(&model);
    let sources = sources(5, 8, 3);
    let found = Generator::new(&model).generate(&sources, &SearchOptions::beam(16)).unwrap();
    for (source, found) in sources.iter().zip(found) {
        let wanted = reference.all(source, 3);
        assert_eq!(found.len(), 16);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(same(found, wanted), "{source:?}: {found:?}, {wanted:?}");
        }
    }
    // A beam is never worse than greedy search here, and its hypotheses are in order.
    let greedy = Generator::new(&model).generate(&sources, &SearchOptions::beam(1)).unwrap();
    let beam = Generator::new(&model).generate(&sources, &SearchOptions::beam(4)).unwrap();
    for (greedy, beam) in greedy.iter().zip(&beam) {
        assert!(beam[0].score >= greedy[0].score - 1e-5);
        assert!(beam.is_sorted_by(|a, b| a.score >= b.score));
    }
}

#[test]
fn a_beam_wider_than_there_are_texts_returns_those_there_are() {
    let model = model(8, 5, 1, Readout::Tanh, 1, 6);
    // One step over <eos>, <unk> and one letter: three texts.
    let found = Generator::new(&model).generate(&[vec![EOS]], &SearchOptions::beam(8)).unwrap();
    assert_eq!(found[0].len(), 3, "{found:?}");
}

#[test]
fn results_come_in_the_order_of_the_sources() {
    let model = model(14, 9, 21, Readout::Tanh, 1, 7);
    let mut generator = Generator::new(&model);
    let sources = sources(150, 14, 21);
    let together = generator.generate(&sources, &SearchOptions::beam(2)).unwrap();
    assert_eq!(together.len(), sources.len());
    for index in [0, 1, 17, 63, 64, 65, 100, 127, 128, 149] {
        let alone = generator.generate(&sources[index..=index], &SearchOptions::beam(2)).unwrap();
        assert_eq!(alone[0].len(), together[index].len());
        for (alone, together) in alone[0].iter().zip(&together[index]) {
            assert!(same(alone, together), "{index}: {alone:?}, {together:?}");
        }
    }
    assert_eq!(generator.generate(&[], &SearchOptions::beam(2)).unwrap(), Vec::<Vec<Hypothesis>>::new());
    // The same again: the memory of earlier searches leaves no trace.
    assert_eq!(generator.generate(&sources, &SearchOptions::beam(2)).unwrap(), together);
}

/// Greedy search is one submit for the encoder and 16 steps, and one more with a readback for each look at what there is; it
/// stops at the first look that finds all rows finished, makes nothing on its way, and a step is a handful of dispatches.
#[test]
fn a_search_looks_once_in_16_steps_and_makes_nothing() {
    // A device of its own, for its counters.
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap();
    let model = model_on(gpu, 14, 9, 40, Readout::Tanh, 1, 7);
    let mut generator = Generator::new(&model);
    let bias = model.parameters.tensor("output.bias").unwrap();
    let sources = sources(12, 14, 21);
    for beam in [1, 3] {
        // Dispatches of 40 steps when no text ends, of which the first look is 16, and those when all end at once.
        let mut dispatches = Vec::new();
        for (end, looks) in [(-1e4, 3), (1e4, 1)] {
            let values: Vec<f32> = (0..9).map(|token| if token == EOS { end } else { 0.0 }).collect();
            gpu.write(&bias, &values).unwrap();
            generator.generate(&sources, &SearchOptions::beam(beam)).unwrap();
            let before = gpu.counters();
            let found = generator.generate(&sources, &SearchOptions::beam(beam)).unwrap();
            assert!(found.iter().all(|found| found[0].finished == (looks == 1)), "{found:?}");
            let after = gpu.counters();
            dispatches.push((after.dispatches - before.dispatches) as usize);
            let expected = Counters {
                dispatches: after.dispatches,
                submits: before.submits + 2 * looks,
                readbacks: before.readbacks + looks,
                waits: after.waits,
                ..before
            };
            assert_eq!(after, expected, "beam {beam}");
            assert!(after.waits <= before.waits + looks + 1, "{before:?} {after:?}");
        }
        let each = if beam == 1 { GREEDY_STEP } else { BEAM_STEP };
        assert_eq!(dispatches[0] - dispatches[1], 2 * (16 * each + 1), "beam {beam}");
    }
}

/// Dispatches of a step: query, attention, cell, readout, output layer, choice. A beam merges its candidates in another.
const GREEDY_STEP: usize = 6;
const BEAM_STEP: usize = 7;

#[test]
fn sources_that_cannot_be_read_are_refused() {
    let model = model(14, 9, 6, Readout::Tanh, 1, 8);
    let mut generator = Generator::new(&model);
    let good = vec![5, EOS];
    for (bad, part) in [(vec![5; 7], "--max-length"), (vec![], "source 2"), (vec![99, EOS], "token 99")] {
        let error = generator.generate(&[good.clone(), bad], &SearchOptions::beam(1)).unwrap_err();
        assert!(matches!(error, Error::Data { .. }) && error.to_string().contains(part), "{error}");
    }
    for beam in [0, 17] {
        let error = generator.generate(std::slice::from_ref(&good), &SearchOptions::beam(beam)).unwrap_err();
        assert!(matches!(error, Error::Shape { argument: "beam", .. }), "{error}");
    }
    let error = model.encode("abcdefghij").unwrap_err().to_string();
    assert!(error.contains("abcdefghij") && error.contains("11 tokens") && error.contains("--max-length"), "{error}");
    assert_eq!(model.encode("ab").unwrap().len(), 3);
}

#[test]
fn alignments_are_distributions_over_the_source() {
    let model = model(14, 9, 12, Readout::Tanh, 1, 9);
    let reference = Reference::new(&model);
    let mut generator = Generator::new(&model);
    for (source, target) in [(vec![4, 5, 6, 7, EOS], vec![4, 8, 5]), (vec![EOS], vec![]), (vec![9, EOS], vec![4])] {
        let weights = generator.alignment(&source, &target).unwrap();
        assert_eq!(weights.len(), (target.len() + 1) * source.len());
        for row in weights.chunks(source.len()) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row.iter().all(|weight| *weight >= 0.0), "{row:?}");
        }
        let (_, wanted) = reference.next(&reference.encode(&source), &target);
        assert!(weights.iter().zip(&wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-5));
    }
}
