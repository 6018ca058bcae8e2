//! The seam between models and what works with them: the table, settings by name, files of 0.1.0, and a model without attention.

use std::{collections::BTreeMap, fs, sync::Arc};

use softalign::{
    Error, Result,
    batch::{BatchShape, Specials},
    generate::{Generator, Scorer, SearchOptions},
    gpu::Recorder,
    graph::{Parameters, Programs},
    kernels::{
        beam_search::{BeamState, Feed},
        matmul::Matrix,
    },
    model::{
        ARCHITECTURES, Architecture, Encoder, Forward, Initial, Kind, Layers, Learns, Limits, ModelOptions, Parameter,
        Readout, Regularisation, SearchRoom, StepOutputs, Stepper,
        bahdanau::{Bahdanau, Config},
    },
    text::{EOS, Example},
    train::{Objective, TrainOptions, TrainingGraph},
};

use crate::common::{
    generation::{self, Reference, Space, same, sources},
    training::{Setting, refusal, run},
};

fn options(settings: &[(&str, &str)]) -> ModelOptions {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ModelOptions { embedding: 8, hidden: 12, settings, ..ModelOptions::default() }
}

#[test]
fn every_architecture_is_made_written_and_read_alike() {
    assert_eq!(Kind::DEFAULT.name, "bahdanau");
    for kind in ARCHITECTURES.iter().filter(|kind| kind.learns().next().is_some()) {
        let network = Kind::named(kind.name).unwrap().make(&options(&[]), [9, 11]).unwrap();
        assert_eq!(network.name(), kind.name);
        let Limits { source_vocabulary, target_vocabulary, specials, .. } = network.limits();
        let read = if kind.learns().next() == Some(Learns::Text) { 0 } else { 9 };
        assert_eq!((source_vocabulary, target_vocabulary, specials), (read, 11, Specials::default()));
        let read = Kind::read(&network.config().unwrap(), "config.json").unwrap();
        assert_eq!(read.config().unwrap(), network.config().unwrap());
        assert_eq!(read.parameters(), network.parameters());
        // Each parameter is declared once, and its first values hang on the seed and its name alone.
        let parameters = network.parameters();
        let by_name: BTreeMap<_, _> = parameters.iter().map(|one| (&one.name, one.values(3))).collect();
        assert_eq!(by_name.len(), parameters.len());
        let hangs =
            |one: &Parameter| matches!(one.initial, Initial::Constant(_)) || one.values(4) != by_name[&one.name];
        assert!(parameters.iter().all(|one| hangs(one) && one.values(3) == by_name[&one.name]));
        // Training uses all of them.
        let shape = BatchShape::new(2, 3, 4);
        let training = TrainingGraph::new(network.as_ref(), shape, &Objective::default()).unwrap();
        let used: BTreeMap<_, _> = training.gradients.iter().cloned().collect();
        assert!(parameters.iter().all(|one| used.contains_key(&one.name)), "{}", kind.name);
    }
    let message = refusal(Kind::named("perceptron"));
    assert!(message.contains("`architecture`") && message.contains("bahdanau"), "{message}");
}

#[test]
fn settings_are_fields_of_the_configuration() {
    let made = |settings: &[(&str, &str)]| Kind::DEFAULT.make(&options(settings), [9, 11]);
    let config: Config = serde_json::from_str(
        &made(&[("attention", "5"), ("readout", "none"), ("dropout", "0.25")]).unwrap().config().unwrap(),
    )
    .unwrap();
    assert_eq!((config.attention, config.readout, config.dropout, config.hidden), (5, Readout::None, 0.25, 12));
    for (settings, parts) in [
        (("heads", "8"), ["`model` heads=8", "`heads` is no setting", "attention", "readout_size"]),
        (("attention", "many"), ["`model` attention=many", "invalid type", "attention", "encoder_layers"]),
        (("readout", "maxout"), ["`model` readout=maxout", "unknown variant", "`tanh`", "tie_embeddings"]),
        // What the data say, or an option of its own.
        (("max_length", "7"), ["`model` max_length=7", "no setting", "dropout", "embedding"]),
    ] {
        let message = refusal(made(&[settings]));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let luong = Kind::named("luong").unwrap();
    for options in
        [ModelOptions { readout: Readout::None, ..options(&[]) }, ModelOptions { tie_embeddings: true, ..options(&[]) }]
    {
        assert!(refusal(luong.make(&options, [9, 11])).contains("no readout to leave out"));
    }
    // Only the dot score needs annotations of a state's size, and so an encoder of one direction.
    for (settings, both) in [(&[][..], true), (&[("score", "dot")], false), (&[("bidirectional", "false")], false)] {
        let config = luong.make(&options(settings), [9, 11]).unwrap().config().unwrap();
        assert!(config.contains(&format!("\"bidirectional\": {both}")), "{config}");
    }
    let message = refusal(made(&[("attention", "0")]));
    assert!(message.contains("attention is 0"), "{message}");
}

#[test]
fn files_of_the_default_architecture_are_those_of_0_1_0() {
    let config = Kind::DEFAULT.make(&options(&[]), [9, 11]).unwrap().config().unwrap();
    assert!(config.starts_with("{\n  \"architecture\": \"seq2seq\",\n  \"source_vocabulary\": 9,"), "{config}");
    assert!(Kind::read(&config.replace("seq2seq", "bahdanau"), "config.json").is_ok());
    let message = refusal(Kind::read(&config.replace("seq2seq", "gpt"), "config.json"));
    assert!(message.contains("config.json") && message.contains("`gpt`") && message.contains("bahdanau"), "{message}");
    // A run says only what is not the default, and goes on from what says nothing.
    let plain = Setting::new().options;
    let text = serde_json::to_string(&plain).unwrap();
    assert!(!text.contains("architecture") && !text.contains("\"model\""), "{text}");
    assert_eq!(serde_json::from_str::<TrainOptions>(&text).unwrap(), plain);
    let model = BTreeMap::from([("attention".to_owned(), "5".to_owned())]);
    let other = TrainOptions { model, ..plain };
    let text = serde_json::to_string(&other).unwrap();
    assert_eq!(serde_json::from_str::<TrainOptions>(&text).unwrap(), other);
}

#[test]
fn a_run_with_settings_is_another_run() {
    let setting = Setting::new();
    let model = BTreeMap::from([("attention".to_owned(), "5".to_owned())]);
    let options = TrainOptions { model, ..setting.options.clone() };
    let out = setting.out("run");
    run(&options, 1, &out).unwrap();
    assert!(fs::read_to_string(out.join("config.json")).unwrap().contains("\"attention\": 5,"));
    let message = refusal(run(&setting.options, 2, &out));
    assert!(message.contains("model is {\"attention\":\"5\"} there and the default here"), "{message}");
    let unknown = TrainOptions { architecture: "gpt".into(), ..setting.options.clone() };
    assert!(refusal(run(&unknown, 1, &setting.out("unknown"))).contains("bahdanau"));
    assert!(!setting.out("unknown").exists());
}

#[test]
fn models_of_different_sizes_search_together() {
    let models = [generation::model(14, 9, 21, Readout::Tanh, 1, 3), generation::model(14, 9, 17, Readout::None, 2, 4)];
    let references = models.each_ref().map(Reference::new);
    let mut generator = Generator::ensemble(&models[0], &models[1..]).unwrap();
    assert_eq!(generator.longest(), 17);
    let options = SearchOptions { attended: true, max_length: Some(17), ..SearchOptions::default() };
    let space = Space::new(&references, options.clone());
    let sources = sources(6, 14, 17);
    for (source, found) in sources.iter().zip(generator.generate(&sources, &options).unwrap()) {
        let wanted = space.greedy(source);
        assert!(same(&found[0], &wanted), "{source:?}: {found:?}, {wanted:?}");
    }
}

#[test]
fn programs_of_ever_other_lengths_make_room_for_each_other() {
    let model = generation::model(8, 6, 400, Readout::Tanh, 1, 5);
    let mut generator = Generator::new(&model);
    let most = Programs::<usize>::MOST;
    // Lengths are rounded up to multiples of 8.
    for length in (1..=most + 8).map(|count| 8 * count - 3) {
        let weights = generator.alignment(&vec![4; length], &[4]).unwrap();
        assert_eq!(weights.len(), 2 * length);
    }
    assert_eq!(generator.programs(), [0, most]);
}

/// Bahdanau's model, which keeps to itself what it attends to.
#[derive(Debug)]
struct Reticent(Arc<Bahdanau>);

impl Architecture for Reticent {
    fn name(&self) -> &'static str {
        "reticent"
    }

    fn config(&self) -> Result<String> {
        self.0.config()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.0.parameters()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        Ok(Forward { attention: None, ..self.0.forward(layers, shape)? })
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(ReticentStepper(self.0.stepper(parameters, room)?)))
    }
}

#[derive(Debug)]
struct ReticentStepper(Box<dyn Stepper>);

impl Stepper for ReticentStepper {
    fn encoder(&self) -> Result<Encoder> {
        self.0.encoder()
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.0.record_start(recorder)
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        match outputs.weights {
            Some(_) => Err(Error::data("reticent", "has no alignment weights")),
            None => self.0.record_step(recorder, step, outputs),
        }
    }

    fn feed(&self) -> Feed<'_> {
        self.0.feed()
    }

    fn states_after(&self, step: usize) -> usize {
        self.0.states_after(step)
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.0.record_fed(recorder, state, step)
    }
}

#[test]
fn a_model_of_ones_own_without_attention_trains_scores_and_generates() {
    let open = generation::model(14, 9, 21, Readout::Tanh, 1, 3);
    let config: Config = serde_json::from_str(&open.network.config().unwrap()).unwrap();
    let mut reticent = open.clone();
    reticent.network = Arc::new(Reticent(Bahdanau::new(config).unwrap()));
    let sources = sources(4, 14, 9);
    let (mut of_open, mut of_reticent) = (Generator::new(&open), Generator::new(&reticent));
    let plain = SearchOptions::default();
    assert_eq!(of_reticent.generate(&sources, &plain).unwrap(), of_open.generate(&sources, &plain).unwrap());
    let example = Example::new(vec![4, 5, EOS], vec![4, 6]);
    let examples = std::slice::from_ref(&example);
    assert_eq!(Scorer::new(&reticent).score(examples).unwrap(), Scorer::new(&open).score(examples).unwrap());
    // Whatever needs the weights says so.
    let attended = SearchOptions { attended: true, ..plain };
    assert!(refusal(of_reticent.generate(&sources, &attended)).contains("no alignment weights"));
    assert!(refusal(of_reticent.alignment(&[4, EOS], &[4])).contains("this architecture gives none"));
    for (regularisation, what) in [
        (Regularisation { guided_alignment: 0.1, ..Regularisation::default() }, "guided alignment"),
        (Regularisation { coverage: 0.1, ..Regularisation::default() }, "coverage loss"),
    ] {
        let shape = BatchShape::new(2, 3, 4);
        let objective = Objective { regularisation, ..Objective::default() };
        let message = refusal(TrainingGraph::new(reticent.network.as_ref(), shape, &objective).map(|_| ()));
        assert!(message.contains(what) && message.contains("this architecture gives none"), "{message}");
    }
}
