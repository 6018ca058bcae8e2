//! Language models: plain text learnt in windows, continued, and its likelihood.

use std::{fs, path::Path};

use softalign::{
    Error,
    generate::{Generator, Scorer, SearchOptions, evaluate_plain},
    model::{Model, Prompt},
    text::{Example, TokenUnit},
    train::{Budget, Data, Destination, Event, Metric, Outcome, Schedule, TrainOptions, Validated, train},
};

use crate::{
    cli::{Work, fed, refused, texts},
    common,
};

/// A text whose every word is followed by one word only.
fn text() -> String {
    ["one cat sat on the mat\n", "my dog ran to his door\n"].concat().repeat(60)
}

fn options(folder: &Path) -> TrainOptions {
    let file = folder.join("book.txt");
    fs::write(&file, text()).unwrap();
    TrainOptions {
        hidden: 32,
        layers: 1,
        max_length: 17,
        target_unit: TokenUnit::Words,
        batch: 8,
        learning_rate: 1e-2,
        schedule: Schedule { warmup: 5, ..Schedule::default() },
        ..TrainOptions::new(Data::Text { train: file, valid: None })
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
fn learns_a_text_and_continues_it() {
    let work = Work::new();
    let folder = work.path("model");
    let (_, validated) = run(&folder, &options(&work.path(".")), 60, &|| false);
    let last = validated.last().unwrap();
    assert!(last.scores.is_none() && last.cross_entropy < 1.3, "{last:?}");

    let model = Model::load(common::gpu(), &folder).unwrap();
    let mut generator = Generator::new(&model);
    let Prompt { source, prefix } = model.prompt("my dog ran").unwrap();
    let options = SearchOptions { max_length: Some(6), ..SearchOptions::default() };
    let found = generator.generate_behind(&[source], &[prefix], &options).unwrap();
    let [best] = found[0].as_slice() else { panic!("{found:?}") };
    let written = model.target.decode(&best.tokens);
    assert!(written.starts_with("my dog ran ") && best.tokens.len() == 6, "{written}");
    // What is written is as likely as a text of its own that goes on.
    let example = Example { source: vec![], target: best.tokens.clone(), cut: true };
    let likelihood = Scorer::new(&model).score(&[example]).unwrap()[0].log_probability;
    assert!((f64::from(best.score) - likelihood).abs() < 1e-4 * likelihood.abs(), "{best:?}, {likelihood}");

    // The likelihood of a text is that of its windows, and bits are shared among bytes.
    let text = "one cat sat on the mat\nmy dog ran to the mat\n".repeat(2);
    let text = text.as_str();
    let tokens = model.target.encode(text).unwrap();
    let (first, rest) = tokens.split_at(18);
    let cut = Example { source: vec![], target: first.to_vec(), cut: true };
    let windows = [cut, Example::new(vec![], rest.to_vec())];
    let by_window = Scorer::new(&model).score(&windows).unwrap();
    let found = evaluate_plain(&generator, &model, text).unwrap();
    assert_eq!((found.tokens, found.bytes), (tokens.len() + 1, text.len()));
    let expected: f64 = by_window.iter().map(|one| one.log_probability).sum();
    assert!((found.log_probability - expected).abs() < 1e-5 * expected.abs(), "{found:?}, {expected}");
    let bits = -expected / std::f64::consts::LN_2 / text.len() as f64;
    assert!((found.bits_per_byte - bits).abs() < 1e-6 && (found.perplexity.ln() + expected / 25.0).abs() < 1e-4);
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let work = Work::new();
    let [whole, parts] = ["whole", "parts"].map(|name| work.path(name));
    let options = options(&work.path("."));
    run(&whole, &options, 12, &|| false);
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 6;
    assert!(run(&parts, &options, 12, &stop).0.interrupted);
    assert!(!run(&parts, &options, 12, &|| false).0.interrupted);
    let [whole, parts] = [whole, parts].map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
    assert!(whole == parts);
}

/// Steps between bounds are the same after a stop, and a run says at its end what has become of spans.
#[test]
fn spans_are_shown_and_go_on_bit_for_bit() {
    let work = Work::new();
    let settings = [("heads", "2"), ("span_limit", "9"), ("ramp", "2"), ("segment", "8")];
    let options = TrainOptions {
        layers: 1,
        model: settings.map(|(key, value)| (key.into(), value.into())).into(),
        ..options(&work.path(".")).with_architecture("adaptive-span")
    };
    let folders = ["whole", "parts"].map(|name| work.path(name));
    let shown = folders.each_ref().map(|folder| {
        let (asked, mut shown) = (std::cell::Cell::new(0), Vec::new());
        let stop = || folder.ends_with("parts") && asked.replace(asked.get() + 1) == 2;
        let budget = Budget { steps: Some(4), ..Budget::default() };
        let mut session = || {
            train(common::gpu(), &options, budget, Destination { folder, overwrite: false }, &stop, &mut |event| {
                if let Event::Bounded { name, values, bounds } = event {
                    shown.push((name.to_owned(), values.to_vec(), bounds));
                }
            })
        };
        if session().unwrap().interrupted {
            session().unwrap();
        }
        shown
    });
    let [(name, spans, bounds)] = shown[0].as_slice() else { panic!("{shown:?}") };
    assert_eq!((name.as_str(), spans.len(), *bounds), ("layers.0.span", 2, [0.0, 9.0]));
    assert!(spans.iter().all(|span| (0.0..=9.0).contains(span)), "{spans:?}");
    assert_eq!(shown[0], shown[1]);
    let [whole, parts] = folders.map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
    assert!(whole == parts);
}

#[test]
fn data_and_architecture_must_fit() {
    let folder = Path::new("/nowhere");
    let text = TrainOptions::new(Data::Text { train: folder.join("a"), valid: None });
    assert_eq!((text.architecture.as_str(), text.metric), ("gpt2", Metric::CrossEntropy));
    let work = Work::new();
    fs::write(work.path("short.txt"), "a\n").unwrap();
    let short = TrainOptions::new(Data::Text { train: work.path("short.txt"), valid: None });
    let pairs = TrainOptions::new(Data::Files { train: folder.join("a"), valid: folder.join("b") });
    for (options, parts) in [
        (pairs.clone().with_architecture("gpt2"), ["`gpt2` learns from plain text", "the data are pairs"]),
        (text.clone().with_architecture("luong"), ["`luong` learns from pairs", "plain text, which gpt2"]),
        (short, ["short.txt", "too short to hold a tenth of it out"]),
        (TrainOptions { metric: Metric::Bleu, ..text.clone() }, ["`metric`", "cross-entropy"]),
        (TrainOptions { coverage_weight: 1.0, ..text.clone() }, ["`coverage_weight`", "needs pairs"]),
        (TrainOptions { group_references: true, ..text.clone() }, ["`group_references`", "needs pairs"]),
    ] {
        let destination = Destination { folder: Path::new("/nowhere/run"), overwrite: false };
        let refused = train(common::gpu(), &options, Budget::default(), destination, &|| false, &mut |_| ());
        match refused {
            Err(error @ Error::Data { .. }) => {
                let error = error.to_string();
                assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// From a file to a text, by the command alone.
#[test]
fn the_command_trains_continues_and_scores() {
    let work = Work::new();
    fs::write(work.path("book.txt"), text()).unwrap();
    let sizes = ["--hidden", "32", "--layers", "1", "--max-length", "17", "--batch", "8", "--learning-rate", "0.01"];
    let output = work
        .command(&[&["train", "--text", "book.txt", "--steps", "60", "--tokens", "words"][..], &sizes].concat())
        .output()
        .unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.ends_with("generate runs/book TEXT\n"), "{stdout}");
    for part in ["windows of text to learn from", "bits per byte (best so far)", "▸", "best cross-entropy"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    assert!(!work.path("runs/book/source.tokenizer.json").exists());

    // A prompt is text, tabs and blanks too; without one a text begins from nothing.
    let output = fed(work.command(&["generate", "-q", "runs/book", "--max-length", "6"]), b"my dog\n\none\tcat\n");
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("my dog ") && lines[2].starts_with("one cat ") && lines.len() == 3, "{stdout}");
    let long = "one cat ".repeat(9);
    let output = fed(work.command(&["generate", "runs/book"]), format!("{long}\n").as_bytes());
    assert_eq!(texts(&output).0, "\n");
    assert!(texts(&output).1.contains("line 1: the prompt: 18 tokens"), "{}", texts(&output).1);
    refused(&fed(work.command(&["generate", "runs/book", "--attention", "a.svg", "my dog"]), b""), 1, &["no source"]);

    fs::write(work.path("test.txt"), "one cat sat on the mat\r\n").unwrap();
    let evaluate = ["evaluate", "runs/book", "test.txt", "--json", "found.json"];
    let output = work.command(&evaluate).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.starts_with("tokens               7\nbytes                23\nperplexity "), "{stdout}");
    let found: serde_json::Value = serde_json::from_slice(&fs::read(work.path("found.json")).unwrap()).unwrap();
    assert!(found["bits_per_byte"].as_f64().unwrap() > 0.0, "{found}");
    let output = work.command(&["evaluate", "runs/book", "test.txt", "--hypotheses", "test.txt"]).output().unwrap();
    refused(&output, 1, &["--hypotheses", "language model"]);
    for option in ["--prefix-column", "--attention", "--alignments=a", "--replace-unk", "--coverage-penalty=1"] {
        let output = work.command(&["generate", "runs/book", "a", option]).output().unwrap();
        refused(&output, 1, &[option.split('=').next().unwrap(), "continues texts"]);
    }
    for option in ["--beam=2", "--strict", "--bootstrap=9", "--max-length=5"] {
        let output = work.command(&["evaluate", "runs/book", "test.txt", option]).output().unwrap();
        refused(&output, 1, &["a perplexity alone"]);
    }

    let output = work.command(&["score", "-q", "runs/book", "test.txt"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let expected = found["log_probability"].as_f64().unwrap();
    assert!((stdout.trim().parse::<f64>().unwrap() - expected).abs() < 1e-3, "{stdout}, {expected}");

    // Pairs are none of its business, nor is text a translator's.
    let output = work.command(&["train", "--train", "train.tsv", "--valid", "valid.tsv", "--architecture", "gpt2"]);
    refused(&{ output }.output().unwrap(), 1, &["gpt2", "plain text", "pairs"]);
}
