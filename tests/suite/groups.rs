//! Groups of parameters: learning rates by name, what is frozen, and what weight decay spares.

use std::{collections::BTreeMap, fs};

use softalign::{
    Tensor,
    graph::Parameters,
    model::{
        BatchShape, Kind, ModelOptions, Network, Regularisation, first_values,
        t5::{Config, T5},
    },
    reference::adam::Adam,
    text::Batch,
    train::{Group, Optimizer, Rate, TrainOptions, Trainer},
};

use crate::{
    cli::{Work, refused, texts},
    common::{
        self,
        training::{Setting, Tiny, bits, refusal, run, state, stopped, tiny},
    },
};

const LEARNING_RATE: f32 = 0.01;

fn rates(rules: &[&str]) -> Vec<Rate> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

fn trainer(tiny: &Tiny, optimizer: Optimizer) -> Trainer {
    let (network, parameters) = (tiny.model.network.clone(), &tiny.model.parameters);
    Trainer::new(common::gpu(), network, parameters, optimizer, Regularisation::default()).unwrap()
}

fn values(tensor: Option<Tensor>) -> Vec<f64> {
    common::gpu().read::<f32>(&tensor.unwrap()).unwrap().into_iter().map(f64::from).collect()
}

fn all(parameters: &Parameters) -> BTreeMap<String, Vec<f64>> {
    parameters.names().iter().map(|name| (name.clone(), values(parameters.tensor(name)))).collect()
}

/// The learning rate's share that these rules give a parameter of the tiny model.
fn rate_of(name: &str) -> f64 {
    match name {
        _ if name.starts_with("encoder.") => 0.0,
        _ if name.starts_with("decoder.cell.") => 0.5,
        _ => 1.0,
    }
}

#[test]
fn each_group_makes_its_own_step_under_one_norm() {
    let tiny = tiny(common::gpu(), &Setting::new(), 8);
    let optimizer = Optimizer {
        clip_norm: Some(0.1),
        weight_decay: 0.3,
        // Of several rules the last one holds.
        rates: rates(&["*=7", "*=1", "decoder.cell.*=0.5", "encoder.*=0"]),
        ..Optimizer::default()
    };
    let before = all(&tiny.model.parameters);
    let mut trainer = trainer(&tiny, optimizer);
    trainer.step(&tiny.batch(), 1, 1, LEARNING_RATE).unwrap();
    let trained = trainer.state.gradients.names();
    assert!(trained.len() < before.len() && trained.iter().all(|name| rate_of(name) > 0.0));
    // Two groups of each kind, weights and what weight decay spares; no room for moments of what is frozen.
    assert_eq!(trainer.state.groups.len(), 4);
    assert_eq!(trainer.state.first.names(), trained);
    assert!(trainer.state.parameters.names() == tiny.model.parameters.names());

    let gradients = all(&trainer.state.gradients);
    let norm = gradients.values().flatten().map(|gradient| gradient * gradient).sum::<f64>().sqrt();
    let report = trainer.state.read_report(common::gpu()).unwrap();
    assert!((f64::from(report.norm) / norm - 1.0).abs() < 1e-5, "{report:?}, {norm}");
    for (name, before) in &before {
        let after = values(trainer.state.parameters.tensor(name));
        let Some(gradients) = gradients.get(name) else {
            assert!(*before == after, "{name} is frozen");
            continue;
        };
        let is_weight = tiny.model.parameters.tensor(name).unwrap().shape().dims().len() > 1;
        let adam = Adam {
            learning_rate: f64::from(LEARNING_RATE) * rate_of(name),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: None,
            weight_decay: if is_weight { f64::from(0.3_f32) } else { 0.0 },
        };
        let clipped: Vec<f64> = gradients.iter().map(|gradient| gradient * (f64::from(0.1_f32) / norm)).collect();
        let (mut expected, zeros) = (before.clone(), vec![0.0; before.len()]);
        adam.update(1, &mut expected, &clipped, &mut zeros.clone(), &mut zeros.clone());
        for ((found, expected), gradient) in after.iter().zip(&expected).zip(&clipped) {
            // Where a gradient is about as small as epsilon, its rounding decides the step.
            assert!((found - expected).abs() < 1e-6 || gradient.abs() < 1e-6, "{name}: {found}, expected {expected}");
        }
    }
}

#[test]
fn what_is_frozen_costs_no_backward_pass_and_what_is_alike_stays_in_one_buffer() {
    let tiny = tiny(common::gpu(), &Setting::new(), 8);
    let shape = tiny.batch().shape;
    let dispatches = |optimizer| {
        let mut trainer = trainer(&tiny, optimizer);
        trainer.prepare(shape).unwrap().recording().dispatches()
    };
    let whole = dispatches(Optimizer::default());
    let frozen = |rules: &[&str]| dispatches(Optimizer { rates: rates(rules), ..Optimizer::default() });
    let (encoder, readout_alone) = (frozen(&["encoder.*=0"]), frozen(&["*=0", "output.*=1"]));
    // Of the readout alone, what is left is the forward pass and one product.
    assert!(encoder < whole && readout_alone < encoder * 2 / 3, "{whole}, {encoder}, {readout_alone}");
    // Two groups share a step: a norm and an update more.
    assert_eq!(dispatches(Optimizer { weight_decay: 0.1, ..Optimizer::default() }), whole + 2);

    // As version 0.1.0 had it, and as there is nothing to spare: the model's own buffer, changed in place.
    for optimizer in [
        Optimizer { weight_decay: 0.1, spares_biases: false, ..Optimizer::default() },
        Optimizer { rates: rates(&["*=1"]), ..Optimizer::default() },
    ] {
        let trainer = trainer(&tiny, optimizer);
        assert_eq!(trainer.state.groups, [Group::PLAIN]);
        assert_eq!(trainer.state.parameters.blocks()[0].buffer(), tiny.model.parameters.blocks()[0].buffer());
    }
}

/// Other parameters of a layer may be frozen, or the activations made again in the backward pass: what is trained does not notice.
#[test]
fn what_is_trained_has_the_gradients_that_it_has_beside_all_others() {
    for (name, source, frozen) in [
        ("gpt2", 0, &["transformer.h.0.*=0", "transformer.w?e.*=0", "*.attn.c_attn.weight=0"][..]),
        ("reformer", 0, &["reformer.embeddings.*=0", "*.layers.0.*=0", "*.1.feed_forward.*=0"]),
        ("transformer", 9, &["model.encoder.*=0", "*.bias=0"]),
    ] {
        let options = ModelOptions { hidden: 16, layers: 2, max_length: 16, ..ModelOptions::default() };
        let network = Kind::named(name).unwrap().make(&options, [source, 9]).unwrap();
        let parameters = first_values(common::gpu(), &network.parameters(), 1).unwrap();
        let mut batch = Batch::filler(BatchShape::new(2, 4, 16), network.limits().specials);
        for (row, length) in [(0, 15), (1, 7)] {
            batch.put_source(row, &[4, 5, 6, 2][row..]);
            batch.put_target(row, &[4, 5, 6, 7, 8, 4, 6, 8, 5, 7, 4, 4, 5, 5, 8][..length]);
        }
        let gradients = |rules: &[&str]| {
            let optimizer = Optimizer { rates: rates(rules), ..Optimizer::default() };
            let network = network.clone();
            let mut trainer =
                Trainer::new(common::gpu(), network, &parameters, optimizer, Regularisation::default()).unwrap();
            trainer.step(&batch, 1, 1, 0.0).unwrap();
            all(&trainer.state.gradients)
        };
        let (whole, trained) = (gradients(&[]), gradients(frozen));
        assert!(!trained.is_empty() && trained.len() < whole.len());
        assert!(trained.iter().all(|(name, gradient)| whole[name] == *gradient), "{name}");
        assert!(trained.values().flatten().any(|gradient| *gradient != 0.0), "{name}");
    }
}

/// Adafactor's steps are as large as a parameter is (Shazeer and Stern 2018, section 8); a run's rules multiply what a model says.
#[test]
fn parameters_of_a_t5_are_trained_at_rates_of_their_sizes() {
    let sizes = Config { hidden: 16, heads: 2, head_size: 4, feed_forward: 64, ..Config::new(8, 9) };
    let network: Network = T5::new(Config { encoder_layers: 1, decoder_layers: 1, ..sizes }).unwrap();
    let parameters = first_values(common::gpu(), &network.parameters(), 1).unwrap();
    let optimizer = Optimizer { rates: rates(&["*.q.*=0.5"]), ..Optimizer::default() };
    let mut found: Vec<f32> = optimizer
        .state(common::gpu(), network.as_ref(), &parameters)
        .unwrap()
        .groups
        .iter()
        .map(|one| one.rate)
        .collect();
    found.sort_by(f32::total_cmp);
    // Queries, what leads out of feed-forward parts, most others, what leads out of attention, tables of words and of positions.
    let wanted = [0.5 * 0.5, 0.5, 1.0, 2.0_f32.sqrt(), 4.0];
    assert_eq!(found.len(), wanted.len());
    found
        .iter()
        .zip(wanted)
        .for_each(|(found, wanted)| approx::assert_relative_eq!(*found, wanted, max_relative = 1e-6));
}

#[test]
fn rules_that_mean_nothing_are_refused() {
    for rule in ["encoder.*", "encoder.*=", "a=-1", "a=NaN", "[=1", "=inf"] {
        assert!(rule.parse::<Rate>().is_err(), "{rule}");
    }
    let rate: Rate = "a=b[c=d]?*=0.1".parse().unwrap();
    assert_eq!(rate.to_string(), "a=b[c=d]?*=0.1");
    let tiny = tiny(common::gpu(), &Setting::new(), 8);
    for (rules, part) in [(["encoder.9.*=1"], "embedding.weight`"), (["*=0"], "every parameter is frozen")] {
        let optimizer = Optimizer { rates: rates(&rules), ..Optimizer::default() };
        let message = refusal(optimizer.state(common::gpu(), tiny.model.network.as_ref(), &tiny.model.parameters));
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_run_keeps_to_its_rules() {
    let setting = Setting::new();
    let options =
        TrainOptions { rate: rates(&["encoder.*=0", "decoder.*=0.5"]), weight_decay: 0.01, ..setting.options.clone() };
    let [whole, parts] = ["whole", "parts"].map(|name| setting.out(name));
    run(&options, 4, &whole).unwrap();
    stopped(&options, 4, &parts, 2);
    let other = TrainOptions { rate: rates(&["encoder.*=0"]), ..options.clone() };
    let message = refusal(run(&other, 4, &parts));
    assert!(message.contains("a different run (rate is"), "{message}");
    run(&options, 4, &parts).unwrap();
    assert!(state(&whole) == state(&parts));
    // A folder of its own has what is frozen too, and no moments of it.
    let checkpoint = bits(&whole.join("checkpoint.safetensors"));
    assert!(checkpoint.keys().any(|name| name.starts_with("parameter.encoder.")));
    assert!(!checkpoint.keys().any(|name| name.starts_with("first.encoder.")));
}

#[test]
fn the_command_freezes_and_says_what_there_is_to_freeze() {
    let work = Work::new();
    let output = work.train(&["--steps", "1", "--freeze", "encoder.layers.*"]).output().unwrap();
    refused(&output, 1, &["encoder.layers.*", "is the name of no parameter", "`encoder."]);
    assert!(!work.path("model").exists(), "nothing is written");
    let output = work.train(&["--steps", "1", "--rate", "encoder.*=half"]).output().unwrap();
    refused(&output, 2, &["--rate", "encoder.*=half"]);
    let output =
        work.train(&["--steps", "1", "--rate", "*=0.5", "--freeze", "encoder.*", "--rate", "enc*=1"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let told = fs::read_to_string(work.path("model").join("run.json")).unwrap();
    let told: String = told.split_whitespace().collect();
    assert!(told.contains(r#""rate":["*=0.5","enc*=1","encoder.*=0"]"#), "{told}");
}
