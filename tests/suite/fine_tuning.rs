//! Runs that begin with a model, and data that one model makes for another.

use std::{fs, path::Path};

use softalign::train::{Budget, Data, Destination, TrainOptions, train};

use crate::{
    cli::{Work, fed, refused, texts},
    common,
};

/// What the run in a folder is told, which begins with the model in `model`.
fn options(work: &Work, run: &str) -> TrainOptions {
    let data = Data::Files { train: work.path("train.tsv"), valid: work.path("valid.tsv") };
    let options = TrainOptions { batch: 16, max_length: 8, ..TrainOptions::new(data) };
    options.beginning_with(&work.path("model"), &work.path(run)).unwrap()
}

fn run(folder: &Path, options: &TrainOptions, steps: u64) {
    let budget = Budget { steps: Some(steps), ..Budget::default() };
    train(common::gpu(), options, budget, Destination { folder, overwrite: false }, &|| false, &mut |_| ()).unwrap();
}

#[test]
fn a_run_begins_with_a_model_and_goes_on_without_it() {
    let work = Work::new();
    work.trained();
    // A rate below the last digit of every parameter: they are still those of the first model.
    let still = TrainOptions { learning_rate: 1e-30, ..options(&work, "still") };
    run(&work.path("still"), &still, 1);
    let weights = |folder: &str| {
        let model = softalign::model::Model::load(common::gpu(), work.path(folder)).unwrap();
        let names = model.parameters.names().iter();
        let all: Vec<Vec<u32>> = names
            .map(|name| common::gpu().read(&model.parameters.tensor(name).unwrap()).unwrap())
            .map(|values: Vec<f32>| values.into_iter().map(f32::to_bits).collect())
            .collect();
        all
    };
    assert!(weights("still") == weights("model"));
    for name in ["config.json", "source.tokenizer.json", "target.tokenizer.json"] {
        assert_eq!(fs::read(work.path("still").join(name)).unwrap(), fs::read(work.path("model").join(name)).unwrap());
    }
    run(&work.path("whole"), &options(&work, "whole"), 4);
    run(&work.path("parts"), &options(&work, "parts"), 2);
    // A run that goes on has all that it needs in its own folder.
    fs::rename(work.path("model"), work.path("moved")).unwrap();
    run(&work.path("parts"), &options(&work, "parts"), 4);
    assert!(weights("parts") == weights("whole") && weights("parts") != weights("moved"));
}

#[test]
fn the_command_begins_with_a_model_and_makes_pairs() {
    let work = Work::new();
    work.trained();
    fs::write(work.path("other.tsv"), "12\ttwelve\n7\tseven words nobody knows\n").unwrap();
    let tune = ["train", "--train", "other.tsv", "--valid", "valid.tsv", "--from", "model", "--steps", "1"];
    let output = work.command(&tune).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("tokens are not in the vocabulary of model"), "{stderr}");
    fs::rename(work.path("model"), work.path("moved")).unwrap();
    let output = work.command(&[&tune[..8], &["2"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    fs::rename(work.path("moved"), work.path("model")).unwrap();
    let output = work.command(&[&tune[..], &["--hidden", "3"]].concat()).output().unwrap();
    refused(&output, 2, &["--from", "--hidden"]);
    let output = work.command(&[&tune[..7], &["--out", "a", "--from", "nowhere"]].concat()).output().unwrap();
    assert!(!output.status.success());

    let output = fed(work.command(&["generate", "-q", "model", "--pairs"]), b"12\n\n345\n");
    let (stdout, _) = texts(&output);
    let alone = texts(&fed(work.command(&["generate", "-q", "model"]), b"12\n345\n")).0;
    let wanted: String =
        ["12", "345"].iter().zip(alone.lines()).map(|(source, text)| format!("{source}\t{text}\n")).collect();
    assert_eq!(stdout, wanted);
}

#[test]
fn a_model_that_does_not_learn_from_the_data_is_refused_by_its_name() {
    let work = Work::new();
    work.trained();
    fs::write(work.path("book.txt"), "one cat sat on the mat\n".repeat(60)).unwrap();
    let text = ["train", "--text", "book.txt", "--out", "run", "--steps", "1", "--from"];
    let refuse = |model: &str, named: &[&str]| {
        let output = work.command(&[&text[..], &[model]].concat()).output().unwrap();
        refused(&output, 1, &[&[model], named, &["leave --from out"]].concat());
        assert!(!work.path("run").exists(), "nothing is written");
    };
    refuse("model", &["`bahdanau` learns from pairs", "plain text"]);
    fs::write(work.path("classes.tsv"), "one cat\twarm\nthe mat\tcold\n").unwrap();
    let classes = ["train", "--train", "classes.tsv", "--valid", "classes.tsv", "--architecture", "bert"];
    let small = ["--hidden", "64", "--layers", "1", "--batch", "2", "--steps", "1", "--out", "classes"];
    let output = work.command(&[&classes[..], &small].concat()).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    refuse("classes", &["this `bert` answers with names of classes", "masked tokens"]);
}
