//! Whole models of pairs against a reference: logits, loss, and gradients by central differences.

use std::fmt::Debug;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Gpu,
    batch::{Batch, BatchShape, Specials},
    generate::{Generator, Hypothesis, SearchOptions},
    gpu::Dtype,
    graph::{Program, ProgramOptions, Targets},
    kernels::Step,
    model::{Forward, Layers, Network, Regularisation, TokenModel, zeros},
    reference::seq2seq::Named,
};

/// Rows, source steps and target steps of the batch.
pub const SHAPE: BatchShape = BatchShape { rows: 3, source: 6, target: 4 };
/// Steps of each source.
pub const LENGTHS: [u32; 3] = [6, 2, 1];
/// Rows of targets; the last two of the second are padding.
pub const TARGET_IN: [u32; 12] = [1, 4, 7, 3, 1, 6, 0, 0, 1, 5, 5, 0];
const TARGET_OUT: [u32; 12] = [4, 7, 3, 2, 6, 2, 0, 0, 5, 5, 2, 0];
const TOKENS: f64 = 9.0;

/// A model with drawn parameters, and sources.
pub struct Case {
    pub network: Network,
    pub values: Vec<(String, Vec<f32>)>,
    pub source: Vec<u32>,
}

impl Case {
    /// Parameters from within `range` of 0.
    pub fn new(network: Network, range: f32, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: usize| (0..count).map(|_| random.random_range(-range..range)).collect();
        let values = network.parameters().into_iter().map(|one| (one.name, draw(one.shape.elements()))).collect();
        let limits = network.limits();
        let read = if limits.reads_source() { SHAPE.rows * SHAPE.source } else { 0 };
        let source = (0..read).map(|_| random.random_range(4..limits.source_vocabulary as u32)).collect();
        Self { network, values, source }
    }

    /// The parameters, for a reference.
    pub fn named(&self) -> Named {
        let widen = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
        self.values.iter().map(|(name, values)| (name.clone(), widen(values))).collect()
    }

    /// The logits `[B, T, W]` that a reference gives for each source and target.
    pub fn logits(&self, logits: impl Fn(&[u32], &[u32]) -> Vec<f64>) -> Vec<f64> {
        let sources = self.source.chunks(SHAPE.source).zip(LENGTHS).map(|(source, length)| &source[..length as usize]);
        sources.zip(TARGET_IN.chunks(SHAPE.target)).flat_map(|(source, target)| logits(source, target)).collect()
    }

    /// The model on a device.
    pub fn model(&self, gpu: &Gpu) -> TokenModel {
        let parameters = zeros(gpu, &self.network.parameters()).unwrap();
        for (name, values) in &self.values {
            gpu.write(&parameters.tensor(name).unwrap(), values).unwrap();
        }
        TokenModel { gpu: gpu.clone(), network: self.network.clone(), parameters }
    }

    /// The sources, each with its end token.
    pub fn sources(&self) -> Vec<Vec<u32>> {
        self.source.chunks(SHAPE.source).map(|row| [row, &[self.network.limits().specials.eos]].concat()).collect()
    }
}

/// The mean loss of the tokens that are not padding, from logits `[B, T, W]`.
pub fn mean_loss(logits: &[f64]) -> f64 {
    let classes = logits.len() / TARGET_OUT.len();
    let steps = logits.chunks(classes).zip(TARGET_OUT).filter(|(_, target)| *target != 0);
    let losses = steps.map(|(logits, target)| {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        total.ln() - logits[target as usize]
    });
    losses.sum::<f64>() / TOKENS
}

/// Logits and loss of a model on a device, and the gradient of each parameter by name.
pub struct Found {
    pub logits: Vec<f32>,
    pub loss: f32,
    pub gradients: Vec<(String, Vec<f32>)>,
}

/// A training step's on the batch.
pub fn found(gpu: &Gpu, precision: Dtype, case: &Case) -> Found {
    let mut layers = Layers::training(&Regularisation::default(), precision);
    let Forward { logits, targets, .. } = case.network.forward(&mut layers, SHAPE).unwrap();
    let (names, used): (Vec<_>, Vec<_>) = layers.used().iter().cloned().unzip();
    let mut graph = layers.graph;
    let loss = graph.cross_entropy(logits, Targets::new(targets, 0), 0.0).unwrap();
    let gradients = graph.gradients(loss, &used).unwrap();
    let model = case.model(gpu);
    let kept = [&[logits, loss], gradients.as_slice()].concat();
    let options = ProgramOptions { parameters: Some(&model.parameters), outputs: &kept, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let inputs =
        [("source", &case.source[..]), ("lengths", &LENGTHS), ("target_in", &TARGET_IN), ("target_out", &TARGET_OUT)];
    let read: Vec<_> = program.inputs().map(str::to_owned).collect();
    for (name, words) in inputs.into_iter().filter(|(name, _)| read.iter().any(|read| read == name)) {
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

/// Compares logits and loss of a case with a reference, which makes logits `[B, T, W]` of parameters, and `elements` of each gradient
/// with its central differences. `of` is what it is a model of.
pub fn assert_agrees(of: &impl Debug, case: &Case, [elements, seed]: [u64; 2], logits: impl Fn(&Named) -> Vec<f64>) {
    let (found, expected) = (found(super::gpu(), Dtype::F32, case), logits(&case.named()));
    super::assert_close("logits", of, &found.logits, &expected, 2e-5);
    super::assert_close("loss", of, &[found.loss], &[mean_loss(&expected)], 2e-5);
    let loss = |named: &Named| mean_loss(&logits(named));
    assert_gradients(of, &found.gradients, case.named(), [elements, seed], 1e-5, loss);
}

/// Compares logits `[B, T, W]` of a case with those of a reference on every form of adapter and in both types of activations, and asks
/// whether gradients are finite.
pub fn assert_agrees_in_every_form(of: &impl Debug, case: &Case, logits: &[f64]) {
    for (gpu, precision) in super::forms() {
        let tolerance = if precision == Dtype::F16 { 2e-2 } else { 2e-5 };
        let found = found(gpu, precision, case);
        super::assert_close("logits", of, &found.logits, logits, tolerance);
        assert!(found.gradients.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
    }
}

/// Compares some elements of each gradient with central differences of a reference's loss. `of` is what it is a model of.
pub fn assert_gradients(
    of: &impl Debug,
    gradients: &[(String, Vec<f32>)],
    mut named: Named,
    [elements, seed]: [u64; 2],
    step: f64,
    loss: impl Fn(&Named) -> f64,
) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for (name, gradient) in gradients {
        let largest = gradient.iter().fold(1e-3_f32, |largest, x| largest.max(x.abs()));
        for _ in 0..elements {
            let at = random.random_range(0..gradient.len());
            let value = named[name][at];
            let mut loss_at = |x: f64| {
                named.get_mut(name).unwrap()[at] = x;
                loss(&named)
            };
            let expected = (loss_at(value + step) - loss_at(value - step)) / (2.0 * step);
            loss_at(value);
            let error = (f64::from(gradient[at]) - expected).abs() / f64::from(largest);
            assert!(error < 1e-4, "{name}[{at}] of {of:?}: {}, expected {expected}", gradient[at]);
        }
    }
}

/// The log-probability that logits `[T, W]` give to a text's tokens.
pub fn log_probability(logits: &[f64], tokens: &[u32]) -> f64 {
    let gains = logits.chunks(logits.len() / tokens.len()).zip(tokens).map(|(logits, token)| {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits[*token as usize] - total.ln()
    });
    gains.sum()
}

/// A text's tokens, its end with them, and what a decoder reads for them.
pub fn written(text: &Hypothesis, specials: Specials) -> (Vec<u32>, Vec<u32>) {
    let tokens: Vec<u32> = text.tokens.iter().copied().chain(text.finished.then_some(specials.eos)).collect();
    let read = [specials.bos].into_iter().chain(tokens.iter().copied()).take(tokens.len()).collect();
    (tokens, read)
}

/// The logits `[T, W]` of a model's whole pass over one source and target.
pub fn whole_pass(model: &TokenModel, source: &[u32], target_in: &[u32]) -> Vec<f64> {
    let mut layers = Layers::new();
    let shape = BatchShape { rows: 1, source: source.len(), target: target_in.len() };
    let Forward { logits, .. } = model.network.forward(&mut layers, shape).unwrap();
    let options =
        ProgramOptions { parameters: Some(&model.parameters), outputs: &[logits], ..ProgramOptions::default() };
    let mut program = Program::compile(&model.gpu, &layers.graph, &options).unwrap();
    let mut batch = Batch::filler(shape, model.network.limits().specials);
    batch.put_source(0, source);
    batch.target_in = target_in.to_vec();
    batch.target_lengths = vec![target_in.len() as u32];
    program.stage(&batch).unwrap();
    program.run(Step::default()).unwrap();
    let logits: Vec<f32> = program.read(logits).unwrap();
    logits.into_iter().map(f64::from).collect()
}

/// The caches hold what a whole pass computes: by itself, and in beams whose hypotheses change places. `logits` are those of the
/// whole pass over a source and a target; a model with attention to a source is asked what it attends to as well.
pub fn assert_steps_are_the_whole_pass(
    of: &impl Debug,
    model: &TokenModel,
    sources: &[Vec<u32>],
    logits: impl Fn(&[u32], &[u32]) -> Vec<f64>,
) {
    let mut generator = Generator::new(model);
    let limits = model.network.limits();
    let attended = generator.attends();
    for beam in [1, 4] {
        let max_length = Some(limits.max_length - 1);
        let options = SearchOptions { n_best: beam, attended, max_length, ..SearchOptions::beam(beam) };
        for (source, texts) in sources.iter().zip(&generator.generate(sources, &options).unwrap()) {
            assert!(!texts.is_empty());
            for text in texts {
                let (tokens, read) = written(text, limits.specials);
                let expected = log_probability(&logits(source, &read), &tokens);
                let error = (f64::from(text.score) - expected).abs() / expected.abs().max(1.0);
                assert!(error < 2e-5, "beam {beam} of {of:?}: {text:?}, expected {expected}");
                if attended {
                    assert_attended(&mut generator, source, text);
                }
            }
        }
    }
}

fn assert_attended(generator: &mut Generator, source: &[u32], text: &Hypothesis) {
    let weights = generator.alignment(source, &text.tokens).unwrap();
    for (row, position) in weights.chunks(source.len()).zip(&text.attended) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
        let largest = row.iter().fold(0.0_f32, |largest, weight| largest.max(*weight));
        assert!(row[*position as usize] > largest - 1e-5, "{row:?}, {position}");
    }
}
