//! The Luong model against its reference: every score with every window, with and without input feeding, over one direction and two.

use crate::common::{
    self,
    generation::{self, Reference, same, sources, tokenizer},
    models::assert_gradients,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Error, Gpu,
    generate::{Generator, Hypothesis, SearchOptions},
    gpu::Dtype,
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture as _, BatchShape, Layers, Model, Readout, Regularisation,
        luong::{Config, Luong, Score, Window},
        zeros,
    },
    reference::{self, beam_search::length_penalty, seq2seq::Named},
    text::{BOS, EOS},
};

const SHAPE: [usize; 3] = [3, 6, 4];
const LENGTHS: [u32; 3] = [6, 2, 0];
const TARGET_IN: [u32; 12] = [1, 4, 7, 3, 1, 6, 0, 0, 1, 5, 5, 0];
const TARGET_OUT: [u32; 12] = [4, 7, 3, 2, 6, 2, 0, 0, 5, 5, 2, 0];
const TOKENS: f64 = 9.0;

/// Every combination that is a model.
fn configs() -> Vec<Config> {
    let mut all = Vec::new();
    for score in [Score::Dot, Score::General, Score::Concat, Score::Location] {
        for window in [Window::Global, Window::LocalM, Window::LocalP] {
            for (input_feeding, bidirectional) in [(false, false), (true, false), (false, true), (true, true)] {
                let config = Config {
                    embedding: 5,
                    hidden: 7,
                    encoder_layers: 1 + usize::from(bidirectional),
                    bidirectional,
                    score,
                    attention: 6,
                    location_rows: if input_feeding { 4 } else { 8 },
                    window,
                    half_width: 1 + usize::from(input_feeding),
                    position: 3,
                    input_feeding,
                    ..Config::new(9, 8)
                };
                all.extend(config.check("test").is_ok().then_some(config));
            }
        }
    }
    assert_eq!(all.len(), 42, "all but the dot score over two directions");
    all
}

fn reference(config: &Config) -> reference::luong::Luong {
    use reference::{local_attention, luong};
    let half_width = config.half_width as f64;
    luong::Luong {
        word: config.embedding,
        hidden: config.hidden,
        encoder_layers: config.encoder_layers,
        bidirectional: config.bidirectional,
        score: match config.score {
            Score::Dot => luong::Score::Dot,
            Score::General => luong::Score::General,
            Score::Concat => luong::Score::Concat,
            Score::Location => luong::Score::Location,
        },
        window: match config.window {
            Window::Global => local_attention::Window::Global,
            Window::LocalM => local_attention::Window::Monotonic { half_width, first: 0 },
            Window::LocalP => local_attention::Window::Predicted { half_width },
        },
        input_feeding: config.input_feeding,
    }
}

/// A model's parameters, a source, and what the reference makes of them.
struct Case {
    config: Config,
    values: Vec<(String, Vec<f32>)>,
    source: Vec<u32>,
}

impl Case {
    /// One whose predicted centres keep away from where a position enters a window or leaves it.
    fn new(config: &Config) -> Self {
        (0..100).map(|seed| Self::drawn(config, seed)).find(Self::is_far_from_edges).expect("no case among 100")
    }

    fn drawn(config: &Config, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: usize| (0..count).map(|_| random.random_range(-0.9_f32..0.9)).collect();
        let parameters = Luong::new(config.clone()).unwrap().parameters().into_iter();
        let values = parameters.map(|one| (one.name, draw(one.shape.elements()))).collect();
        let source = (0..SHAPE[0] * SHAPE[1]).map(|_| random.random_range(0..config.source_vocabulary as u32));
        Self { config: config.clone(), values, source: source.collect() }
    }

    fn named(&self) -> Named {
        let widen = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
        self.values.iter().map(|(name, values)| (name.clone(), widen(values))).collect()
    }

    /// The steps of each row.
    fn steps(&self, named: &Named) -> Vec<Vec<reference::luong::Step>> {
        let reference = reference(&self.config);
        let sources = self.source.chunks(SHAPE[1]).zip(LENGTHS).map(|(source, length)| &source[..length as usize]);
        sources
            .zip(TARGET_IN.chunks(SHAPE[2]))
            .map(|(source, target)| reference.forward(named, source, target))
            .collect()
    }

    fn is_far_from_edges(&self) -> bool {
        let centres = self.steps(&self.named()).into_iter().flatten().map(|step| step.centre);
        let is_far = |centre: f64| (centre - centre.round()).abs() > 0.02;
        self.config.window != Window::LocalP || centres.filter(|centre| *centre > 0.0).all(is_far)
    }

    /// The mean loss of the tokens that are not padding.
    fn loss(&self, named: &Named) -> f64 {
        let steps = self.steps(named).into_iter().flatten().zip(TARGET_OUT).filter(|(_, target)| *target != 0);
        let losses = steps.map(|(step, target)| {
            let total: f64 = step.logits.iter().map(|logit| logit.exp()).sum();
            total.ln() - step.logits[target as usize]
        });
        losses.sum::<f64>() / TOKENS
    }
}

/// Logits, weights and centres of a model on a device; then the loss, and the gradient of each parameter by name.
struct Found {
    outputs: Vec<Vec<f32>>,
    loss: f32,
    gradients: Vec<(String, Vec<f32>)>,
}

fn found(gpu: &Gpu, precision: Dtype, case: &Case) -> Found {
    let network = Luong::new(case.config.clone()).unwrap();
    let mut layers = Layers::training(&Regularisation::default(), precision);
    let shape = BatchShape { rows: SHAPE[0], source: SHAPE[1], target: SHAPE[2] };
    let forced = network.teacher_forced(&mut layers, shape).unwrap();
    let (names, used): (Vec<_>, Vec<_>) = layers.used().iter().cloned().unzip();
    let mut graph = layers.graph;
    let loss = graph.cross_entropy(forced.logits, forced.targets, 0.0).unwrap();
    let gradients = graph.gradients(loss, &used).unwrap();
    let outputs: Vec<_> =
        [forced.logits, forced.alignment.weights].into_iter().chain(forced.alignment.centres).collect();
    let parameters = zeros(gpu, &network.parameters()).unwrap();
    for (name, values) in &case.values {
        gpu.write(&parameters.tensor(name).unwrap(), values).unwrap();
    }
    let kept = [outputs.as_slice(), &[loss], &gradients].concat();
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
    let read_all = |values: Vec<_>| values.into_iter().map(read).collect::<Vec<_>>();
    assert_eq!(names.len(), case.values.len(), "every parameter is used");
    Found {
        outputs: read_all(outputs),
        loss: read(loss)[0],
        gradients: names.into_iter().zip(read_all(gradients)).collect(),
    }
}

fn assert_outputs(case: &Case, found: &Found, tolerance: f64) {
    let steps: Vec<_> = case.steps(&case.named()).into_iter().flatten().collect();
    let logits: Vec<f64> = steps.iter().flat_map(|step| step.logits.clone()).collect();
    let padded =
        |step: &reference::luong::Step| [step.weights.clone(), vec![0.0; SHAPE[1] - step.weights.len()]].concat();
    let weights: Vec<f64> = steps.iter().flat_map(padded).collect();
    let centres: Vec<f64> = steps.iter().map(|step| step.centre).collect();
    for ((what, expected), found) in
        [("logits", logits), ("weights", weights), ("centres", centres)].into_iter().zip(&found.outputs)
    {
        common::assert_close(what, &case.config, found, &expected, tolerance);
    }
    assert_eq!(found.outputs.len(), if case.config.window == Window::Global { 2 } else { 3 });
    common::assert_close("loss", &case.config, &[found.loss], &[case.loss(&case.named())], tolerance);
}

#[test]
fn every_combination_agrees_with_the_reference() {
    for (index, config) in configs().iter().enumerate() {
        let case = Case::new(config);
        let found = found(common::gpu(), Dtype::F32, &case);
        assert_outputs(&case, &found, 2e-5);
        let loss = |named: &Named| case.loss(named);
        assert_gradients(config, &found.gradients, case.named(), [3, index as u64], 1e-4, loss);
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    for (gpu, precision) in common::forms() {
        for config in configs().iter().step_by(5) {
            let case = Case::new(config);
            let tolerance = if precision == Dtype::F16 { 2e-2 } else { 2e-5 };
            let found = found(gpu, precision, &case);
            assert_outputs(&case, &found, tolerance);
            assert!(found.gradients.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
        }
    }
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (field, wrong) in [
        ("hidden", Config { hidden: 0, ..right.clone() }),
        ("target_vocabulary", Config { target_vocabulary: 3, ..right.clone() }),
        ("half_width", Config { half_width: 0, ..right.clone() }),
        ("location_rows", Config { location_rows: 0, ..right.clone() }),
        ("dropout", Config { dropout: 1.0, ..right.clone() }),
        ("dot", Config { score: Score::Dot, bidirectional: true, ..right.clone() }),
    ] {
        match Luong::new(wrong) {
            Err(Error::Data { message, .. }) => assert!(message.contains(field), "{message}"),
            other => panic!("{field}: {other:?}"),
        }
    }
    let text =
        serde_json::to_string(&Config { window: Window::LocalP, score: Score::Concat, ..right.clone() }).unwrap();
    assert!(text.contains(r#""window":"local_p""#) && text.contains(r#""score":"concat""#), "{text}");
    assert!(serde_json::from_str::<Config>(&text.replace("local_p", "local")).is_err());
}

/// A model on a device, with sharper choices than first values make: none that rounding turns.
fn model(gpu: &Gpu, config: &Config, seed: u64) -> Model {
    let (source, target) = (tokenizer(config.source_vocabulary), tokenizer(config.target_vocabulary));
    let model = Model::new(gpu, Luong::new(config.clone()).unwrap(), source, target, seed).unwrap();
    for name in ["output.weight", "combine.weight"] {
        let tensor = model.parameters.tensor(name).unwrap();
        let values: Vec<f32> = gpu.read(&tensor).unwrap();
        gpu.write(&tensor, &values.iter().map(|value| 4.0 * value).collect::<Vec<_>>()).unwrap();
    }
    model
}

/// A text under way: its tokens, the sum of their log-probabilities, the position that each attended to, and the state.
#[derive(Clone)]
struct Text {
    tokens: Vec<u32>,
    sum: f64,
    attended: Vec<u32>,
    state: reference::luong::State,
}

/// The reference of a search: a model's parameters, and a source that it has read.
struct Writer<'a> {
    model: reference::luong::Luong,
    named: &'a Named,
    encoded: reference::luong::Encoded,
}

impl Writer<'_> {
    fn start(&self) -> Text {
        Text { tokens: vec![], sum: 0.0, attended: vec![], state: self.encoded.state.clone() }
    }

    /// A text with each token that may follow it.
    fn longer(&self, text: &Text) -> Vec<Text> {
        let last = text.tokens.last().copied().unwrap_or(BOS);
        let step = self.model.step(self.named, &self.encoded, &text.state, text.tokens.len(), last);
        let total: f64 = step.logits.iter().map(|logit| logit.exp()).sum();
        let most = (0..step.weights.len()).reduce(|a, b| if step.weights[b] > step.weights[a] { b } else { a });
        let attended = [text.attended.as_slice(), &[most.unwrap_or(0) as u32]].concat();
        let with = |token: u32| Text {
            tokens: [text.tokens.as_slice(), &[token]].concat(),
            sum: text.sum + step.logits[token as usize] - total.ln(),
            attended: attended.clone(),
            state: step.state.clone(),
        };
        (EOS..step.logits.len() as u32).map(with).collect()
    }

    fn hypothesis(text: &Text) -> Hypothesis {
        let finished = text.tokens.last() == Some(&EOS);
        let length = text.tokens.len();
        let penalty = length_penalty(SearchOptions::default().length_penalty.into(), length);
        let kept = length - usize::from(finished);
        Hypothesis {
            tokens: text.tokens[..kept].to_vec(),
            score: (text.sum / penalty) as f32,
            finished,
            attended: text.attended[..kept].to_vec(),
        }
    }

    fn greedy(&self, longest: usize) -> Hypothesis {
        let mut text = self.start();
        while text.tokens.last() != Some(&EOS) && text.tokens.len() < longest {
            text = self.longer(&text).into_iter().reduce(|a, b| if b.sum > a.sum { b } else { a }).unwrap();
        }
        Self::hypothesis(&text)
    }

    /// Every text, the best first.
    fn all(&self, longest: usize) -> Vec<Hypothesis> {
        let (mut open, mut found) = (vec![self.start()], Vec::new());
        for length in 1..=longest {
            let longer: Vec<_> = open.iter().flat_map(|text| self.longer(text)).collect();
            let ends = |text: &Text| text.tokens.last() == Some(&EOS) || length == longest;
            found.extend(longer.iter().filter(|text| ends(text)).map(Self::hypothesis));
            open = longer.into_iter().filter(|text| !ends(text)).collect();
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found
    }
}

/// A model's parameters, for the reference.
fn named(model: &Model) -> Named {
    let values = |name: &String| model.gpu.read::<f32>(&model.parameters.tensor(name).unwrap()).unwrap();
    let wide = |name: &String| values(name).into_iter().map(f64::from).collect();
    model.parameters.names().iter().map(|name| (name.clone(), wide(name))).collect()
}

/// Compares what a search finds for each source with what the reference does.
fn assert_found(
    model: &Model,
    config: &Config,
    options: &SearchOptions,
    wanted: impl Fn(&Writer<'_>) -> Vec<Hypothesis>,
) {
    let named = named(model);
    let sources = sources(5, config.source_vocabulary as u32, config.max_length.min(9));
    let found = Generator::new(model).generate(&sources, options).unwrap();
    for (source, found) in sources.iter().zip(found) {
        let model = reference(config);
        let wanted = wanted(&Writer { model, named: &named, encoded: model.encode(&named, source) });
        assert!(found.len() <= wanted.len() && !found.is_empty(), "{config:?}, {source:?}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(same(found, wanted), "{config:?}, {source:?}: {found:?}, wanted {wanted:?}");
        }
    }
}

#[test]
fn searches_find_what_the_reference_finds() {
    for (index, config) in configs().into_iter().enumerate().step_by(4) {
        // Past the 16 steps of a look, whose numbers a search counts.
        let long = Config { max_length: 21, source_vocabulary: 14, ..config.clone() };
        let gpu = if index % 8 == 0 { common::portable() } else { common::gpu() };
        let options = SearchOptions { attended: true, ..SearchOptions::beam(1) };
        assert_found(&model(gpu, &long, 3), &long, &options, |writer| vec![writer.greedy(21)]);
        let short = Config { max_length: 3, target_vocabulary: 6, source_vocabulary: 14, ..config };
        let options = SearchOptions { n_best: 16, ..SearchOptions::beam(16) };
        assert_found(&model(gpu, &short, 5), &short, &options, |writer| writer.all(3));
    }
}

/// Each token is the best by the mean of both models' probabilities, whichever of them comes first.
#[test]
fn an_ensemble_of_two_architectures_goes_by_the_mean_of_both() {
    const LONGEST: usize = 12;
    let sizes = Config { max_length: LONGEST, ..Config::new(14, 9) };
    let config = Config { embedding: 5, hidden: 7, attention: 6, position: 3, ..sizes };
    let luong = model(common::gpu(), &config, 3);
    let bahdanau = generation::model(14, 9, LONGEST, Readout::Tanh, 1, 4);
    let (named, other) = (named(&luong), Reference::new(&bahdanau));
    let sources = sources(5, 14, 9);
    for [first, second] in [[&luong, &bahdanau], [&bahdanau, &luong]] {
        let mut generator = Generator::ensemble(first, std::slice::from_ref(second)).unwrap();
        let found = generator.generate(&sources, &SearchOptions::default()).unwrap();
        for (source, found) in sources.iter().zip(found) {
            let model = reference(&config);
            let writer = Writer { encoded: model.encode(&named, source), model, named: &named };
            let (encoded, mut text, mut sum) = (other.encode(source), writer.start(), 0.0);
            while text.tokens.last() != Some(&EOS) && text.tokens.len() < LONGEST {
                let (logarithms, _) = other.next(&encoded, &text.tokens);
                let mean = |longer: &Text| {
                    let token = longer.tokens[text.tokens.len()] as usize;
                    (0.5 * ((longer.sum - text.sum).exp() + logarithms[token].exp())).ln()
                };
                let longer = writer.longer(&text);
                let best = longer.into_iter().reduce(|a, b| if mean(&b) > mean(&a) { b } else { a }).unwrap();
                sum += mean(&best);
                text = best;
            }
            let wanted = Writer::hypothesis(&Text { sum, ..text });
            assert!(same(&found[0], &wanted), "{source:?}: {found:?}, wanted {wanted:?}");
        }
    }
}
