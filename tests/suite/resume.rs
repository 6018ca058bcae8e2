//! A run that is stopped or killed at any moment goes on to the same bits, with everything that a recipe can ask for.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::common::{
    self,
    training::{Setting, Tensors, bits, state, steps},
};
use softalign::train::{BEST, Decay, Destination, Metric, Outcome, Schedule, TrainOptions, train};

const STEPS: u64 = 9;

/// Everything at once: steps of three batches of odd sizes, validations at every other step, epochs that end between them.
fn everything(setting: &Setting) -> TrainOptions {
    TrainOptions {
        batch_tokens: Some(60),
        accumulate: 3,
        ema: Some(0.9),
        weight_decay: 0.01,
        rate: vec!["encoder.*=0.5".parse().unwrap(), "bridge.*=0".parse().unwrap()],
        tie_embeddings: true,
        metric: Metric::Chrf,
        keep_best: 2,
        validate_every: Some(2),
        schedule: Schedule { warmup: 3, decay: Decay::Plateau { patience: 1 } },
        learning_rate: 1e-2,
        ..setting.options.clone()
    }
}

/// Trains on; `after` is told the number of each batch of this session, and says whether to stop after it.
fn session(options: &TrainOptions, out: &Path, after: &dyn Fn(u64) -> bool) -> Outcome {
    let batches = Cell::new(0);
    let stop = || {
        batches.set(batches.get() + 1);
        after(batches.get())
    };
    train(common::gpu(), options, steps(STEPS), Destination { folder: out, overwrite: false }, &stop, &mut |_| {})
        .unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// The kept models, and their parameters.
fn kept(out: &Path) -> BTreeMap<PathBuf, Tensors> {
    let folders = fs::read_dir(out.join(BEST)).unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| (folder.file_name().unwrap().into(), bits(&folder.join("model.safetensors")))).collect()
}

/// The lines of validations, without times.
fn validations(out: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut lines: Vec<_> = lines.filter(|line| line["valid"].is_object() || line["average"].is_object()).collect();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("seconds")));
    lines
}

fn assert_same(moment: &str, (found, out): (&Outcome, &Path), (expected, whole): (&Outcome, &Path)) {
    let (found, expected) = (&found.progress, &expected.progress);
    assert!(found.finished, "{moment}");
    assert_eq!((found.step, found.epoch, found.batch), (expected.step, expected.epoch, expected.batch), "{moment}");
    assert_eq!((found.tokens, found.validated), (expected.tokens, expected.validated), "{moment}");
    assert_eq!((found.unimproved, found.halvings), (expected.unimproved, expected.halvings), "{moment}");
    assert_eq!((&found.best, &found.kept), (&expected.best, &expected.kept), "{moment}");
    assert!(state(out) == state(whole), "{moment}: other bits");
    assert!(kept(out) == kept(whole), "{moment}: other models are kept");
    assert_eq!(validations(out), validations(whole), "{moment}");
}

#[test]
fn stopped_or_killed_at_any_moment_a_run_ends_with_the_same_bits() {
    let setting = Setting::new();
    let options = everything(&setting);
    let (whole, killed) = (setting.out("whole"), |at: u64| setting.out(&format!("killed at {at}")));
    // A session that is killed leaves the folder as it is at that moment.
    let last = Cell::new(0);
    let expected = session(&options, &whole, &|batch| {
        copy(&whole, &killed(batch));
        last.set(batch);
        false
    });
    let progress = &expected.progress;
    assert!(progress.epoch >= 2 && progress.halvings > 0 && last.get() > 2 * STEPS, "{expected:?}");
    let moments: Vec<u64> = (1..=last.get()).filter(|at| at % 4 != 0).collect();
    for at in &moments {
        let outcome = session(&options, &killed(*at), &|_| false);
        assert_same(&format!("killed after batch {at}"), (&outcome, &killed(*at)), (&expected, &whole));
    }
    // Stopped twice: after every second of those moments, and soon again.
    for at in moments.iter().step_by(2) {
        let out = setting.out(&format!("stopped at {at}"));
        assert!(session(&options, &out, &|batch| batch == *at).interrupted);
        let outcome = session(&options, &out, &|batch| batch == 2);
        let outcome = if outcome.interrupted { session(&options, &out, &|_| false) } else { outcome };
        assert_same(&format!("stopped after batch {at}"), (&outcome, &out), (&expected, &whole));
    }
}
