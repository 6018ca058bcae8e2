//! The encoder-decoder without attention against its reference, over one layer and several.

use std::{fs, process::Command};

use crate::common::{
    self,
    models::{Case, assert_agrees, assert_agrees_in_every_form, assert_steps_are_the_whole_pass},
    training::{Setting, refusal, run, state, stopped},
};
use softalign::{
    batch::Specials,
    generate::Generator,
    model::{
        Kind, ModelOptions, Readout,
        sutskever::{Config, Sutskever},
    },
    reference::{self, seq2seq::Named},
    train::TrainOptions,
};

fn config(layers: usize) -> Config {
    Config { embedding: 5, hidden: 7, layers, max_length: 20, ..Config::new(9, 8) }
}

fn case(config: &Config, seed: u64) -> Case {
    Case::new(Sutskever::new(config.clone()).unwrap(), 0.9, seed)
}

fn reference(config: &Config) -> reference::sutskever::Sutskever {
    reference::sutskever::Sutskever { word: config.embedding, hidden: config.hidden, layers: config.layers }
}

/// The logits `[B, T, W]` of a case's batch.
fn logits(config: &Config, case: &Case, named: &Named) -> Vec<f64> {
    case.logits(|source, target| reference(config).forward(named, source, target))
}

#[test]
fn one_layer_and_several_agree_with_the_reference() {
    for layers in [1, 3] {
        let config = config(layers);
        let case = case(&config, layers as u64);
        assert_agrees(&config, &case, [3, layers as u64], |named| logits(&config, &case, named));
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    let config = config(2);
    let case = case(&config, 5);
    assert_agrees_in_every_form(&config, &case, &logits(&config, &case, &case.named()));
}

/// A hypothesis takes the states of all layers along as it changes its place; targets may have special tokens of their own.
#[test]
fn steps_are_those_of_the_whole_pass() {
    for (layers, specials) in [(1, Specials { pad: 0, bos: 2, eos: 3, unk: 1 }), (2, Specials::default())] {
        let config = Config { specials, ..config(layers) };
        let case = case(&config, 100 + layers as u64);
        let (named, model) = (case.named(), case.model(common::gpu()));
        let logits = |source: &[u32], target: &[u32]| reference(&config).forward(&named, source, target);
        assert_steps_are_the_whole_pass(&config, &model, &case.sources(), logits);
        let message = refusal(Generator::new(&model).alignment(&case.sources()[0], &[4]));
        assert!(message.contains("this architecture gives none"), "{message}");
    }
}

/// What tells an example of a run by its attention does without.
#[test]
fn trains_goes_on_and_is_reported() {
    let setting = Setting::new();
    let plain = setting.options.clone().with_architecture("sutskever");
    let options = TrainOptions { layers: 2, hidden: 32, max_length: 16, ..plain };
    let [whole, parted] = ["whole", "parted"].map(|name| setting.out(name));
    // Until answers end.
    run(&options, 60, &whole).unwrap();
    stopped(&options, 60, &parted, 30);
    run(&options, 60, &parted).unwrap();
    assert!(state(&whole) == state(&parted), "other bits after a stop");
    let output = Command::new(env!("CARGO_BIN_EXE_softalign")).arg("report").arg(&whole).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(page.contains("\"weights\":[]") && !page.contains("\"weights\":[["));
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (field, wrong) in [
        ("hidden", Config { hidden: 0, ..right.clone() }),
        ("layers", Config { layers: 65, ..right.clone() }),
        (
            "special token eos has id 8",
            Config { specials: Specials { eos: 8, ..Specials::default() }, ..right.clone() },
        ),
        ("dropout", Config { dropout: 1.0, ..right.clone() }),
    ] {
        let message = refusal(Sutskever::new(wrong));
        assert!(message.contains(field), "{message}");
    }
    for options in [
        ModelOptions { readout: Readout::None, ..ModelOptions::default() },
        ModelOptions { tie_embeddings: true, ..ModelOptions::default() },
    ] {
        assert!(refusal(Kind::named("sutskever").unwrap().make(&options, [9, 8])).contains("as it is"));
    }
}
