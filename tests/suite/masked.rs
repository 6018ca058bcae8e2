//! Encoders that find masked tokens: plain text learnt, filled in and scored; and what they then learn besides.

use std::{fs, path::Path};

use softalign::{
    generate::{Generator, SearchOptions, evaluate_masked},
    model::{Answers, Model},
    text::TokenUnit,
    train::{Budget, Data, Destination, Event, Metric, Outcome, Schedule, TrainOptions, Validated, train},
};

use crate::{
    cli::{Work, fed, refused, texts},
    common,
};

/// A text whose every word is told by its neighbours: they are the same.
fn text() -> String {
    let line = |colour: &str| format!("{}\n", [colour; 10].join(" "));
    ["red", "blue", "green", "white", "black"].map(line).concat().repeat(20)
}

fn options(folder: &Path, architecture: &str) -> TrainOptions {
    let file = folder.join("book.txt");
    fs::write(&file, text()).unwrap();
    TrainOptions {
        hidden: 64,
        layers: 1,
        max_length: 16,
        target_unit: TokenUnit::Words,
        batch: 16,
        learning_rate: 5e-3,
        schedule: Schedule { warmup: 20, ..Schedule::default() },
        ..TrainOptions::new(Data::Text { train: file, valid: None }).with_architecture(architecture)
    }
}

fn run(folder: &Path, options: &TrainOptions, steps: u64, stop: &dyn Fn() -> bool) -> (Outcome, Vec<Validated>) {
    let mut validated = Vec::new();
    let budget = Budget { steps: Some(steps), ..Budget::default() };
    let destination = Destination { folder, overwrite: false };
    let outcome = train(common::gpu(), options, budget, destination, stop, &mut |event| {
        if let Event::Validated { found, .. } = event {
            validated.push(found);
        }
    });
    (outcome.unwrap(), validated)
}

#[test]
fn learns_to_fill_in_and_then_other_work() {
    let work = Work::new();
    for architecture in ["bert", "roberta"] {
        let folder = work.path(architecture);
        let options = options(&work.path("."), architecture);
        assert_eq!(options.metric, Metric::CrossEntropy);
        let (_, validated) = run(&folder, &options, 100, &|| false);
        let last = validated.last().unwrap();
        assert!(last.scores.is_none() && last.bits_per_byte.is_none() && last.cross_entropy < 1.0, "{last:?}");

        let model = Model::load(common::gpu(), &folder).unwrap();
        assert!(matches!(model.network.answers(), Answers::Filled { .. }));
        let masked = "red red [MASK] red red red [MASK]";
        assert_eq!(model.generate_text(masked).unwrap(), "red red red red red red red");
        // Without a mask there is nothing to fill in.
        assert_eq!(model.generate_text("red blue").unwrap(), "red blue");
        let mut generator = Generator::new(&model);
        let search = SearchOptions { n_best: 3, ..SearchOptions::beam(3) };
        let found = generator.generate(&[model.encode(masked).unwrap()], &search).unwrap().remove(0);
        assert!(found.len() == 3 && found[0].score > found[1].score && found[0].score <= 0.0, "{found:?}");

        let found = evaluate_masked(&generator, &model, &text(), 1).unwrap();
        // Windows of 14 tokens, two of each to be found.
        assert_eq!((found.tokens, found.masked), (1_000, 2 * 71 + 1));
        assert!(found.perplexity < 3.0 && (found.bits_per_token.exp2() - found.perplexity).abs() < 1e-6, "{found:?}");

        // The encoder then learns classes: its own parameters are taken, the layers behind them are new.
        fs::write(work.path("classes.tsv"), "red red red\twarm\nblue green\tcold\n").unwrap();
        let file = work.path("classes.tsv");
        let other = TrainOptions::new(Data::Files { train: file.clone(), valid: file });
        let taught = work.path(&format!("{architecture}-classes"));
        let other = other.beginning_with(&folder, &taught).unwrap();
        let other = TrainOptions { learning_rate: 1e-30, batch: 2, ..other };
        run(&taught, &other, 1, &|| false);
        let taught = Model::load(common::gpu(), &taught).unwrap();
        assert_eq!((taught.network.answers(), taught.target.size()), (Answers::Classes, 4 + 2));
        let values = |model: &Model, name: &str| common::gpu().read::<f32>(&model.parameters.tensor(name)?).ok();
        let (mut same, mut new) = (0, 0);
        for name in taught.parameters.names() {
            match values(&model, name) {
                Some(before) => {
                    assert!(Some(before) == values(&taught, name), "{name}");
                    same += 1;
                }
                None => new += 1,
            }
        }
        assert!(same > 15 && new == 4, "{same} {new}");
        assert!(["warm", "cold"].contains(&taught.generate_text("red red").unwrap().as_str()));

        // Other classes than those it knows are new layers again.
        let file = work.path("others.tsv");
        fs::write(&file, "red red red\twarm\nblue green\tcool\nwhite\tmild\n").unwrap();
        let other = TrainOptions::new(Data::Files { train: file.clone(), valid: file });
        let others = work.path(&format!("{architecture}-others"));
        let other = other.beginning_with(&work.path(&format!("{architecture}-classes")), &others).unwrap();
        run(&others, &TrainOptions { batch: 3, ..other }, 1, &|| false);
        let others = Model::load(common::gpu(), &others).unwrap();
        assert_eq!((others.network.answers(), others.target.size()), (Answers::Classes, 4 + 3));
    }
}

/// A vocabulary that has the mask among its words.
#[test]
fn the_mask_is_the_token_that_the_vocabulary_has_for_it() {
    let work = Work::new();
    let (folder, options) = (work.path("run"), options(&work.path("."), "bert"));
    fs::write(work.path("book.txt"), text().replace("red red", "[MASK] red")).unwrap();
    run(&folder, &options, 1, &|| false);
    let model = Model::load(common::gpu(), &folder).unwrap();
    let mask = model.source.mask().unwrap();
    assert!(mask as usize + 1 < model.source.size());
    assert_eq!(model.network.answers(), Answers::Filled { mask });
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let work = Work::new();
    let [whole, parts] = ["whole", "parts"].map(|name| work.path(name));
    let options = options(&work.path("."), "bert");
    run(&whole, &options, 12, &|| false);
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 6;
    assert!(run(&parts, &options, 12, &stop).0.interrupted);
    assert!(!run(&parts, &options, 12, &|| false).0.interrupted);
    let [whole, parts] = [whole, parts].map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
    assert!(whole == parts);
}

/// From a file to a text without masks, and to classes and questions from there, by the command alone.
#[test]
fn the_command_trains_fills_in_and_goes_on() {
    let work = Work::new();
    fs::write(work.path("book.txt"), text()).unwrap();
    let sizes = ["--hidden", "64", "--layers", "1", "--max-length", "16", "--batch", "16", "--learning-rate", "0.005"];
    let data = ["train", "--text", "book.txt", "--architecture", "bert", "--tokens", "words", "--steps", "100"];
    let output = work.command(&[&data[..], &sizes].concat()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.ends_with("generate runs/book \"TEXT with a [MASK]\"\n"), "{stdout}");
    for part in ["windows of text to learn from", "perplexity", "[MASK]", "▸", "best cross-entropy"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let output =
        fed(work.command(&["generate", "-q", "runs/book"]), b"blue [MASK] blue blue\n\ngreen green green [MASK]\n");
    assert_eq!(texts(&output).0, "blue blue blue blue\n\ngreen green green green\n");
    let (stdout, stderr) = texts(&fed(work.command(&["generate", "runs/book"]), b"Blue,  [MASK] blue  blue \n"));
    assert_eq!(stdout, "Blue,  blue blue  blue \n");
    assert!(stderr.contains("has not seen `Blue,`") && !stderr.contains("`[MASK]`"), "{stderr}");
    let output = work.command(&["evaluate", "runs/book", "book.txt", "--json", "found.json"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.starts_with("tokens               1000\nmasked tokens        143\nperplexity "), "{stdout}");

    fs::write(work.path("pairs.tsv"), "red\tblue\n").unwrap();
    let output = work.command(&["score", "runs/book", "pairs.tsv"]).output().unwrap();
    refused(&output, 1, &["finds masked tokens", "evaluate"]);

    fs::write(work.path("q.tsv"), "red ?\tblue red green\tred green\n").unwrap();
    let data = ["train", "--questions", "q.tsv", "--valid", "q.tsv", "--from", "runs/book", "--steps", "1", "-v"];
    let output = work.command(&data).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    for part in ["tensors are taken", "new are qa_outputs.weight, qa_outputs.bias", "not taken are cls.predictions"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
}
