//! Questions over paragraphs: answers learnt as parts of these, given, ranked, drawn and scored.

use std::{fmt::Write as _, fs, path::Path};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Error,
    generate::{Generator, Scorer, Scoring, SearchOptions, evaluate_in_full},
    model::Model,
    text::{Example, Pair, TokenUnit, read_questions},
    train::{Budget, Data, Destination, Distillation, Outcome, Schedule, TrainOptions, train},
};

use crate::{
    cli::{Work, fed, refused, texts},
    common,
};

/// Lines with paragraphs that tell a colour and a size, anywhere among other words, and are asked for one of them.
fn lines() -> String {
    let colours = ["red", "blue", "green"];
    let sizes = ["very small", "rather large"];
    let others = ["the", "box", "of", "tea", "was", "sold"];
    let (mut lines, mut random) = (String::new(), ChaCha8Rng::seed_from_u64(1));
    let mut draw = |count: usize| random.random_range(0..count);
    for _ in 0..150 {
        let mut words: Vec<_> = (0..2 + draw(4)).map(|_| others[draw(6)]).collect();
        let (colour, size) = (colours[draw(3)], sizes[draw(2)]);
        for word in [colour, size] {
            words.insert(draw(words.len() + 1), word);
        }
        let (question, answer) = if draw(2) == 0 { ("which colour ?", colour) } else { ("what size ?", size) };
        writeln!(lines, "{question}\t{}\t{answer}", words.join(" ")).unwrap();
    }
    lines
}

/// The same with validations on answers that have an article before them, where there is one.
fn checked_with_articles(options: TrainOptions, valid: &Path) -> TrainOptions {
    let Data::Questions { train, .. } = options.data else { panic!("{:?} are no questions", options.data) };
    let lines = fs::read_to_string(&train).unwrap();
    let with_article = |line: &str| {
        let (source, answer) = line.rsplit_once('\t')?;
        source.contains(&format!("the {answer}")).then(|| format!("{source}\tthe {answer}\n"))
    };
    fs::write(valid, lines.lines().filter_map(with_article).collect::<String>()).unwrap();
    TrainOptions { data: Data::Questions { train, valid: valid.to_owned() }, ..options }
}

fn options(folder: &Path, architecture: &str) -> TrainOptions {
    let file = folder.join("questions.tsv");
    fs::write(&file, lines()).unwrap();
    TrainOptions {
        hidden: 32,
        layers: 1,
        max_length: 16,
        batch: 30,
        learning_rate: 4e-3,
        schedule: Schedule { warmup: 20, ..Schedule::default() },
        ..TrainOptions::new(Data::Questions { train: file.clone(), valid: file }).with_architecture(architecture)
    }
}

fn run(folder: &Path, options: &TrainOptions, steps: u64, stop: &dyn Fn() -> bool) -> Result<Outcome, Error> {
    let budget = Budget { steps: Some(steps), ..Budget::default() };
    train(common::gpu(), options, budget, Destination { folder, overwrite: false }, stop, &mut |_| ())
}

#[test]
fn learns_to_answer_by_parts_of_paragraphs() {
    let work = Work::new();
    for architecture in ["bert", "roberta"] {
        let folder = work.path(architecture);
        let options = checked_with_articles(options(&work.path("."), architecture), &work.path("valid.tsv"));
        let (best, _) = run(&folder, &options, 150, &|| false).unwrap().progress.best.unwrap();
        let model = Model::load(common::gpu(), &folder).unwrap();
        let source = "which colour ?\ttea was very small blue box";
        assert_eq!(model.generate_text(source).unwrap(), "blue");
        assert_eq!(model.generate_text("what size ?\ttea was very small blue box").unwrap(), "very small");

        // Ranked: different parts, as likely as their first and their last places, by the same measure as given ones.
        let mut generator = Generator::new(&model);
        let tokens = model.encode(source).unwrap();
        let search = SearchOptions { n_best: 5, ..SearchOptions::beam(5) };
        let found = generator.generate(std::slice::from_ref(&tokens), &search).unwrap().remove(0);
        assert!(found.len() == 5 && found.windows(2).all(|two| two[0].score >= two[1].score), "{found:?}");
        let example = model.example(&Pair::new(source, "blue")).unwrap();
        assert_eq!((&example.target, example.predicted()), (&found[0].tokens, 2));
        // Of an even number of tokens none is padding.
        assert_eq!(tokens.len() % 2, 0);
        let scored = Scorer::new(&model).score(&[example]).unwrap()[0];
        assert!((scored.log_probability - f64::from(found[0].score)).abs() < 1e-4, "{scored:?} {:?}", found[0]);

        // Drawn: where the answer begins and ends, shares of the text.
        let weights = generator.alignment(&tokens, &found[0].tokens).unwrap();
        assert_eq!(weights.len(), 2 * tokens.len());
        for (row, place) in weights.chunks(tokens.len()).zip(&found[0].tokens) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            assert!(row.iter().all(|weight| *weight <= row[*place as usize]), "{row:?}");
        }
        let [names, ends] = model.names(&tokens, &found[0].tokens);
        assert_eq!((names.len(), ends), (tokens.len(), vec!["first:blue".to_owned(), "last:blue".to_owned()]));

        let scoring = Scoring { resamples: 10, ..Scoring::default() };
        let pairs = read_questions(work.path("questions.tsv")).unwrap();
        let found = evaluate_in_full(&mut generator, &model, &pairs, &SearchOptions::default(), &scoring).unwrap();
        let answers = found.answer_scores.unwrap();
        assert!(answers.scores.exact_match > 95.0 && answers.scores.f1 >= answers.scores.exact_match, "{answers:?}");
        let [exact, f1] = answers.intervals.unwrap();
        assert!(exact.low <= exact.high && f1.high <= 100.0, "{answers:?}");

        // Validations compare answers as evaluations do: articles count for nothing.
        let pairs = read_questions(work.path("valid.tsv")).unwrap();
        let found = evaluate_in_full(&mut generator, &model, &pairs, &SearchOptions::default(), &scoring).unwrap();
        let answers = found.answer_scores.unwrap();
        assert!(answers.scores.exact_match > 90.0 && found.scores.exact_match < 10.0, "{answers:?}");
        assert!((best - answers.scores.exact_match).abs() < 1e-9, "{best} {answers:?}");
    }
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let work = Work::new();
    let [whole, parts] = ["whole", "parts"].map(|name| work.path(name));
    let options = options(&work.path("."), "bert");
    run(&whole, &options, 8, &|| false).unwrap();
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 4;
    assert!(run(&parts, &options, 8, &stop).unwrap().interrupted);
    assert!(!run(&parts, &options, 8, &|| false).unwrap().interrupted);
    let [whole, parts] = [whole, parts].map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
    assert!(whole == parts);
}

/// A place in a source is the same whatever the longest source is.
#[test]
fn models_of_other_lengths_answer_and_teach_together() {
    let work = Work::new();
    let options = options(&work.path("."), "bert");
    run(&work.path("short"), &options, 1, &|| false).unwrap();
    run(&work.path("long"), &TrainOptions { max_length: 24, ..options.clone() }, 1, &|| false).unwrap();
    let [short, long] = ["short", "long"].map(|name| Model::load(common::gpu(), work.path(name)).unwrap());
    let tokens = short.encode("which colour ?\ttea was very small blue box").unwrap();
    for (first, second) in [(&short, &long), (&long, &short)] {
        let mut both = Generator::ensemble(first, std::slice::from_ref(second)).unwrap();
        assert_eq!(both.longest(), 16);
        let found = both.generate(std::slice::from_ref(&tokens), &SearchOptions::default()).unwrap().remove(0);
        let example = Example { source: tokens.clone(), target: found[0].tokens.clone(), cut: true };
        let scored = both.scorer().score(&[example]).unwrap()[0];
        assert!((scored.log_probability - f64::from(found[0].score)).abs() < 1e-4, "{scored:?} {:?}", found[0]);
    }
    let taught = |name: &str| Some(Distillation { models: vec![work.path(name)], weight: 0.5 });
    run(&work.path("taught"), &TrainOptions { teacher: taught("long"), ..options.clone() }, 1, &|| false).unwrap();
    let longer = TrainOptions { teacher: taught("short"), max_length: 24, ..options };
    let message = run(&work.path("refused"), &longer, 1, &|| false).unwrap_err().to_string();
    assert!(message.contains("it takes 16 tokens, and texts here have up to 24"), "{message}");
}

#[test]
fn data_and_architecture_must_fit() {
    let work = Work::new();
    let options = options(&work.path("."), "bert");
    assert_eq!((options.architecture.as_str(), &options.source_unit), ("bert", &TokenUnit::Words));
    let message = run(&work.path("refused"), &options.clone().with_architecture("luong"), 1, &|| false);
    let message = message.unwrap_err().to_string();
    assert!(message.contains("`luong` learns from pairs") && message.contains("bert or roberta"), "{message}");
    fs::write(work.path("questions.tsv"), "why ?\tthe sky is blue\tblue sky\n").unwrap();
    let message = run(&work.path("refused"), &options, 1, &|| false).unwrap_err().to_string();
    assert!(
        message.contains("questions.tsv") && message.contains("line 1") && message.contains("blue sky"),
        "{message}"
    );
    assert!(!work.path("refused").exists());
}

/// From a file to answers, by the command alone.
#[test]
fn the_command_trains_answers_and_scores() {
    let work = Work::new();
    fs::write(work.path("q.tsv"), lines()).unwrap();
    let data = ["train", "--questions", "q.tsv", "--valid", "q.tsv", "--steps", "150"];
    let sizes = ["--hidden", "32", "--layers", "1", "--max-length", "16", "--batch", "30", "--learning-rate", "0.004"];
    let output = work.command(&[&data[..], &sizes].concat()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.ends_with("generate runs/q $'QUESTION\\tPARAGRAPH'\n"), "{stdout}");
    for part in ["150 questions to learn from", "exact match", "F1", "best exact match"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let input = b"which colour ?\tthe tea was green rather large\n\nwhich colour ?\nwhat size ?\tvery small red box\n";
    let output = fed(work.command(&["generate", "-q", "runs/q"]), input);
    refused(&output, 1, &["line 3", "no tab", "question<TAB>paragraph"]);
    assert_eq!(texts(&output).0, "green\n\n");
    let output =
        fed(work.command(&["generate", "-q", "runs/q"]), b"what size ?\t \nwhat size ?\tvery small red box\tsmall\n");
    refused(&output, 1, &["line 1", "the paragraph", "line 2", "several tabs"]);
    assert_eq!(texts(&output).0, "\n");
    let output = work.command(&["generate", "-q", "runs/q", "what size ?\tvery small red box", "--attention", "a.svg"]);
    assert_eq!(texts(&{ output }.output().unwrap()).0, "very small\n");
    let drawn = fs::read_to_string(work.path("a.svg")).unwrap();
    assert!(drawn.contains("first:very") && drawn.contains("last:small"), "{drawn}");

    let output = work.command(&["evaluate", "runs/q", "q.tsv", "--json", "found.json"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let rows: Vec<_> = stdout.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(rows, ["pairs", "references", "exact", "F1"], "{stdout}");
    let found: serde_json::Value = serde_json::from_slice(&fs::read(work.path("found.json")).unwrap()).unwrap();
    assert!(found["answer_scores"]["f1"].as_f64().unwrap() > 95.0, "{found}");
    let output = work.command(&["score", "-q", "runs/q", "q.tsv"]).output().unwrap();
    assert_eq!(texts(&output).0.lines().count(), 150);
    // One token more than the model takes, its special ones counted.
    let long = format!("which colour ?\t{} red\tred\n", ["tea"; 10].join(" "));
    fs::write(work.path("q.tsv"), lines() + &long).unwrap();
    let output = work.command(&["report", "runs/q"]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let page = fs::read_to_string(work.path("runs/q/report.html")).unwrap();
    assert!(page.contains("first:") && page.contains("answer_scores"), "{}", page.len());
}
