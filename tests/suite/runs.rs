//! What people do to runs: two at once, data under other names or through pipes, more of a finished one, rates that are too high.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
};

use crate::common::{
    self,
    training::{Setting, bits, epochs, lines, refusal, run, state, steps, stopped},
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use softalign::{
    Error, Result,
    model::{Metadata, Model, StoredTensor, write_tensors},
    text::{Pair, TokenUnit, Tokenizer, read_tsv},
    train::{
        Budget, Data, Decay, Destination, Event, GuidedAlignment, History, Metric, Outcome, Schedule, TrainOptions,
        train,
    },
};

fn go(options: &TrainOptions, budget: Budget, folder: &Path) -> Result<Outcome> {
    train(common::gpu(), options, budget, Destination { folder, overwrite: false }, &|| false, &mut |_| {})
}

fn files(options: &TrainOptions) -> [PathBuf; 2] {
    let Data::Files { train, valid } = &options.data else { unreachable!() };
    [train.clone(), valid.clone()]
}

#[test]
fn a_folder_has_one_session_at_a_time() {
    let setting = Setting::new();
    let (whole, out) = (setting.out("whole"), setting.out("run"));
    run(&setting.options, 4, &whole).unwrap();
    let other = TrainOptions { seed: 7, ..setting.options.clone() };
    let refused = RefCell::new(Vec::new());
    // The same run, another one, and one that would replace it, after the first step and at the last.
    let second = || {
        for (options, overwrite) in [(&setting.options, false), (&other, false), (&other, true)] {
            let destination = Destination { folder: &out, overwrite };
            let result = train(common::gpu(), options, steps(4), destination, &|| false, &mut |_| {});
            refused.borrow_mut().push(refusal(result));
        }
        false
    };
    let outcome = train(
        common::gpu(),
        &setting.options,
        steps(4),
        Destination { folder: &out, overwrite: false },
        &second,
        &mut |_| {},
    );
    assert!(outcome.unwrap().progress.finished);
    assert!(state(&out) == state(&whole), "the others have changed the run");
    let process = format!("process {} on ", std::process::id());
    let refused = refused.into_inner();
    assert_eq!(refused.len(), 12);
    assert!(refused.iter().all(|said| said.contains(&process) && said.contains("another folder")), "{refused:?}");
    // When it has ended, the folder is free.
    run(&setting.options, 5, &out).unwrap();
}

/// Everything that a run reads, in a folder of its own.
fn everything(setting: &Setting, folder: &str) -> TrainOptions {
    let folder = setting.out(folder);
    fs::create_dir_all(&folder).unwrap();
    let [train, valid] = files(&setting.options);
    let [moved, moved_valid] = ["pairs of the year.tsv", "check.tsv"].map(|name| folder.join(name));
    // Ends of lines are no content.
    fs::write(&moved, fs::read_to_string(&train).unwrap().replace('\n', "\r\n")).unwrap();
    fs::copy(&valid, &moved_valid).unwrap();
    let file = folder.join("links");
    fs::write(&file, "0-0\n".repeat(60)).unwrap();
    let pairs = read_tsv(&train).unwrap();
    let tokens = folder.join("letters.json");
    let sources = pairs.iter().map(|pair| pair.source.as_str());
    Tokenizer::train(&TokenUnit::Chars, sources, None).unwrap().save(&tokens).unwrap();
    TrainOptions {
        data: Data::Files { train: moved, valid: moved_valid },
        guided_alignment: Some(GuidedAlignment { file, weight: 0.1 }),
        source_unit: TokenUnit::File(tokens),
        ..setting.options.clone()
    }
}

#[test]
fn content_decides_which_data_a_run_has() {
    let setting = Setting::new();
    let (here, there) = (everything(&setting, "here"), everything(&setting, "there"));
    let (whole, out) = (setting.out("whole"), setting.out("run"));
    run(&here, 6, &whole).unwrap();
    stopped(&here, 6, &out, 2);
    fs::remove_dir_all(setting.out("here")).unwrap();
    // Other content under the old names is another run, whichever of the files has it.
    let [train, valid] = files(&there);
    let links = &there.guided_alignment.as_ref().unwrap().file;
    let before = state(&out);
    for (path, text) in [(&train, lines(0..60)), (&valid, lines(0..6)), (links, "1-0\n".repeat(60))] {
        let original = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        let said = refusal(run(&there, 6, &out));
        assert!(said.contains(path.to_str().unwrap()) && said.contains("has other content"), "{said}");
        fs::write(path, original).unwrap();
    }
    assert!(state(&out) == before, "a refused run changed the folder");
    run(&there, 6, &out).unwrap();
    assert!(state(&out) == state(&whole), "other bits under other names");
    // The folder says where they lie now.
    let told: TrainOptions = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(told, there);
    // A run that has saved nothing has nothing to lose.
    fs::remove_file(out.join("checkpoint.safetensors")).unwrap();
    fs::write(&train, lines(0..60)).unwrap();
    assert_eq!(run(&there, 1, &out).unwrap().progress.step, 1);
}

/// Makes a checkpoint what 0.1.0 wrote, which knew data by path.
fn age(out: &Path, paths: &[PathBuf]) {
    let path = out.join("checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let entry = header.metadata().as_ref().unwrap()["softalign"].clone();
    let metadata: Metadata = serde_json::from_str(&entry).unwrap();
    let mut saved: Value = serde_json::from_str(&metadata["progress"]).unwrap();
    for field in ["sums", "warmup", "spares_biases"] {
        assert!(saved.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    let sum = |path: &PathBuf| format!("{:08x}", crc32c::crc32c(&fs::read(path).unwrap()));
    saved["data"] = paths.iter().map(|path| (path.display().to_string(), json!(sum(path)))).collect();
    let tensors: Vec<_> = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|(name, view)| StoredTensor { name, shape: view.shape().to_vec(), bytes: view.data().to_vec() })
        .collect();
    write_tensors(&path, &tensors, Metadata::from([("progress".to_owned(), saved.to_string())])).unwrap();
}

#[test]
fn a_run_of_0_1_0_goes_on() {
    let setting = Setting::new();
    // Its warm-up was what it was told, however short the run.
    let options = TrainOptions { schedule: Schedule { warmup: 2, decay: Decay::Constant }, ..setting.options.clone() };
    let [train, valid] = files(&options);
    let whole = setting.out("whole");
    run(&options, 5, &whole).unwrap();
    let old = |name: &str| {
        let out = setting.out(name);
        stopped(&options, 5, &out, 3);
        age(&out, &[train.clone(), valid.clone()]);
        out
    };
    let out = old("same paths");
    run(&options, 5, &out).unwrap();
    assert!(state(&out) == state(&whole));
    // Its weight decay was that of all parameters, and stays so, however often it stops.
    let decaying = TrainOptions { weight_decay: 0.3, ..options.clone() };
    let [new, once, twice] = ["new", "once", "twice"].map(|name| setting.out(name));
    run(&decaying, 5, &new).unwrap();
    for out in [&once, &twice] {
        stopped(&decaying, 5, out, 1);
        age(out, &[train.clone(), valid.clone()]);
    }
    stopped(&decaying, 5, &twice, 2);
    [&once, &twice].into_iter().for_each(|out| drop(run(&decaying, 5, out).unwrap()));
    assert!(state(&once) == state(&twice) && state(&once) != state(&new));
    let out = old("moved");
    let moved = setting.out("moved.tsv");
    fs::copy(&train, &moved).unwrap();
    let elsewhere =
        TrainOptions { data: Data::Files { train: moved.clone(), valid: valid.clone() }, ..options.clone() };
    run(&elsewhere, 5, &out).unwrap();
    assert!(state(&out) == state(&whole));
    let out = old("changed");
    fs::write(&moved, lines(0..60)).unwrap();
    assert!(refusal(run(&elsewhere, 5, &out)).contains("moved.tsv has other content"));
}

/// The limits that a finished run names.
fn advised(said: &str) -> Vec<String> {
    let (_, advice) = said.split_once("; more ").unwrap_or_else(|| panic!("{said}"));
    advice.split('`').skip(1).step_by(2).take_while(|name| *name != "overwrite").map(str::to_owned).collect()
}

#[test]
fn what_a_finished_run_advises_lets_it_go_on() {
    let setting = Setting::new();
    let with = |decay| TrainOptions { schedule: Schedule { warmup: 1, decay }, ..setting.options.clone() };
    let decays: [fn(u64) -> Decay; 4] = [
        |epochs| Decay::Linear { epochs },
        |epochs| Decay::Cosine { epochs },
        |_| Decay::InverseSqrt,
        |_| Decay::Constant,
    ];
    for (index, decay) in decays.into_iter().enumerate() {
        let out = setting.out(&format!("epochs {index}"));
        go(&with(decay(1)), epochs(1), &out).unwrap();
        let said = refusal(go(&with(decay(1)), epochs(1), &out));
        assert_eq!(advised(&said), ["epochs"], "{said}");
        let outcome = go(&with(decay(2)), epochs(2), &out).unwrap();
        assert_eq!((outcome.progress.epoch, outcome.progress.finished), (2, true));
        let rates = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        assert!(rates.lines().count() > 1, "{rates}");
    }
    // Where several limits are reached, all of them stand in the way.
    let out = setting.out("several");
    let budget = |epochs, steps| Budget { epochs: Some(epochs), steps: Some(steps), ..Budget::default() };
    let first = go(&with(Decay::Constant), epochs(1), &out).unwrap().progress.step;
    assert_eq!(advised(&refusal(go(&with(Decay::Constant), budget(1, first), &out))), ["epochs", "steps"]);
    assert_eq!(advised(&refusal(go(&with(Decay::Constant), budget(2, first), &out))), ["steps"]);
    assert_eq!(go(&with(Decay::Constant), budget(2, first + 1), &out).unwrap().progress.step, first + 1);
    // A decay of another kind is another run, and the message says so.
    let out = setting.out("epochs 0");
    let said = refusal(go(&with(Decay::Cosine { epochs: 3 }), epochs(3), &out));
    assert!(said.contains("schedule"), "{said}");
}

/// A longer decay is what it says from the step on at which it was given, and goes on to the same bits when stopped.
#[test]
fn a_decay_that_was_made_longer_is_kept_to() {
    let setting = Setting::new();
    let with = |epochs| TrainOptions {
        schedule: Schedule { warmup: 0, decay: Decay::Linear { epochs } },
        ..setting.options.clone()
    };
    let [whole, parts] = ["whole", "parts"].map(|name| setting.out(name));
    for out in [&whole, &parts] {
        go(&with(1), epochs(1), out).unwrap();
    }
    go(&with(3), epochs(3), &whole).unwrap();
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == 3
    };
    let destination = Destination { folder: &parts, overwrite: false };
    assert!(train(common::gpu(), &with(3), epochs(3), destination, &stop, &mut |_| {}).unwrap().interrupted);
    go(&with(3), epochs(3), &parts).unwrap();
    assert!(state(&parts) == state(&whole), "other bits");
}

#[test]
fn a_run_whose_parameters_are_lost_ends_in_an_error_and_keeps_what_was_good() {
    let setting = Setting::new();
    for metric in Metric::ALL {
        let options = TrainOptions { learning_rate: 1e30, validate_every: Some(4), metric, ..setting.options.clone() };
        let out = setting.out(&metric.to_string());
        // The first step computes numbers, and leaves parameters that are large.
        assert!(stopped(&options, 60, &out, 1).interrupted);
        let good = (bits(&out.join("checkpoint.safetensors")), fs::read(out.join("checkpoint.safetensors")).unwrap());
        // Stopped again where nothing good has come of it, it stays where it was.
        let outcome = stopped(&options, 60, &out, 1);
        assert_eq!((outcome.interrupted, outcome.progress.step), (true, 1), "{metric}");
        assert!(fs::read(out.join("checkpoint.safetensors")).unwrap() == good.1, "{metric}");
        let mut best = Vec::new();
        let destination = Destination { folder: &out, overwrite: false };
        let result = train(common::gpu(), &options, steps(60), destination, &|| false, &mut |event| {
            if let Event::Validated { best: is_best, .. } = event {
                best.push(is_best);
            }
        });
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Lost { step: 4, checkpoint: Some(1), .. }), "{metric}: {error}");
        let said = error.to_string();
        assert!(said.contains("checkpoint of step 1") && said.contains("`learning_rate`"), "{said}");
        assert_eq!(best, [false], "{metric}");
        assert!(bits(&out.join("checkpoint.safetensors")) == good.0, "{metric}: the last good checkpoint has changed");
        Model::load(common::gpu(), &out).unwrap();
    }
    // From the start without anything that is good: the folder holds no model.
    let options = TrainOptions { learning_rate: 1e30, validate_every: Some(4), ..setting.options.clone() };
    let out = setting.out("from the start");
    let error = run(&options, 60, &out).unwrap_err();
    assert!(matches!(error, Error::Lost { checkpoint: None, .. }), "{error}");
    assert!(!out.join("checkpoint.safetensors").exists() && !out.join("model.safetensors").exists());
}

#[test]
fn a_short_run_reaches_its_full_learning_rate() {
    let setting = Setting::new();
    let schedule = Schedule { warmup: 400, decay: Decay::Constant };
    let options = TrainOptions { schedule, validate_every: Some(1000), ..setting.options.clone() };
    let rates = |out: &Path| -> Vec<f64> {
        let history = History::read(out).unwrap();
        history.series["train/learning_rate"].iter().map(|(_, rate)| *rate).collect()
    };
    let out = setting.out("run");
    run(&options, 20, &out).unwrap();
    let full = f64::from(options.learning_rate);
    assert_eq!(rates(&out), [full, full], "half of the run is its warm-up");
    // More steps do not warm up again.
    run(&options, 60, &out).unwrap();
    assert!(rates(&out).iter().all(|rate| *rate == full));
    // A warm-up that is no longer than half the run is what it is said to be.
    let options = TrainOptions { schedule: Schedule { warmup: 20, ..schedule }, ..options };
    let out = setting.out("long enough");
    run(&options, 40, &out).unwrap();
    assert_eq!(rates(&out)[..2], [f64::from(options.learning_rate * 0.5), full]);
}

#[test]
fn pairs_longer_than_the_limit_are_left_out() {
    let setting = Setting::new();
    let [train_file, valid] = files(&setting.options);
    let text = fs::read_to_string(&train_file).unwrap();
    let long = "123456789\tone\n1\tone two three four five six seven eight\n";
    // Exactly as long as the limit, which counts the end.
    let fits = "1234567\tone two three four five six seven\n";
    let [with, without] = ["with.tsv", "without.tsv"].map(|name| setting.out(name));
    fs::write(&with, format!("{long}{text}{fits}{long}")).unwrap();
    fs::write(&without, format!("{text}{fits}")).unwrap();
    let few = setting.out("few.tsv");
    fs::write(&few, format!("{}{long}", fs::read_to_string(&valid).unwrap())).unwrap();
    let options = |train: &Path, valid: &Path| TrainOptions {
        data: Data::Files { train: train.to_owned(), valid: valid.to_owned() },
        ..setting.options.clone()
    };
    let pairs = |options: &TrainOptions, out: &Path| {
        let mut pairs = None;
        let destination = Destination { folder: out, overwrite: false };
        train(common::gpu(), options, steps(3), destination, &|| false, &mut |event| {
            if let Event::Started { train, valid, .. } = event {
                pairs = Some((train, valid));
            }
        })
        .unwrap();
        pairs.unwrap()
    };
    assert_eq!(pairs(&options(&with, &few), &setting.out("with")), (61, 6));
    // The links of the others are still theirs.
    let links = setting.out("links");
    let of = |number: usize| if number.is_multiple_of(2) { "0-0\n" } else { "\n" };
    let kept: String = (0..61).map(of).collect();
    fs::write(&links, format!("8-0\n0-7\n{kept}8-0\n0-7\n")).unwrap();
    let fewer = setting.out("fewer");
    fs::write(&fewer, &kept).unwrap();
    // Vocabularies are of all pairs, so both have the same ones.
    let [source_unit, target_unit] = ["source.json", "target.json"].map(|name| TokenUnit::File(setting.out(name)));
    let all = read_tsv(&with).unwrap();
    for (unit, file, text) in [
        (TokenUnit::Chars, &source_unit, (|pair| &pair.source) as fn(&Pair) -> &String),
        (TokenUnit::Words, &target_unit, |pair| &pair.target),
    ] {
        let tokenizer = Tokenizer::train(&unit, all.iter().map(|pair| text(pair).as_str()), None).unwrap();
        tokenizer.save(file.to_string()).unwrap();
    }
    let guided = |options: TrainOptions, file: &Path| TrainOptions {
        guided_alignment: Some(GuidedAlignment { file: file.to_owned(), weight: 0.5 }),
        source_unit: source_unit.clone(),
        target_unit: target_unit.clone(),
        ..options
    };
    let outs = ["guided with", "guided without"].map(|name| setting.out(name));
    pairs(&guided(options(&with, &valid), &links), &outs[0]);
    pairs(&guided(options(&without, &valid), &fewer), &outs[1]);
    let losses = outs.map(|out| History::read(&out).unwrap().series["valid/cross_entropy"].clone());
    assert_eq!(losses[0], losses[1]);
    fs::write(&with, long).unwrap();
    let said = refusal(run(&options(&with, &valid), 3, &setting.out("none")));
    assert!(said.contains("2 of 2 pairs") && said.contains("`max_length`"), "{said}");
}

#[test]
fn metrics_of_0_1_0_have_the_names_of_now() {
    let setting = Setting::new();
    let out = setting.out("run");
    fs::create_dir(&out).unwrap();
    let old =
        "{\"step\":10,\"loss\":1.31,\"epoch\":0}\n{\"step\":10,\"valid\":{\"loss\":0.33,\"wer\":5.0},\"best\":true}\n";
    fs::write(out.join("metrics.jsonl"), old).unwrap();
    let history = History::read(&out).unwrap();
    assert_eq!(history.last("train/loss"), Some(1.31));
    assert_eq!(history.last("valid/cross_entropy"), Some(0.33));
    assert_eq!(history.last("valid/loss"), None);
    // And its metric by that name.
    assert_eq!("loss".parse::<Metric>().unwrap(), Metric::CrossEntropy);
    assert_eq!(serde_json::from_str::<Metric>("\"loss\"").unwrap(), Metric::CrossEntropy);
}
