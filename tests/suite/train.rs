//! Training: the same bits again and after a stop, steps that make nothing, steps that are skipped, folders that are refused.

use std::{cell::Cell, fs, path::Path};

use crate::common::{
    self,
    training::{Setting, bits, forget_checksums, refusal, run, state, steps, stopped, tiny},
};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use softalign::{
    Error, Gpu, GpuOptions,
    generate::{Generator, SearchOptions},
    gpu::{Counters, TileTable},
    kernels::{Tunable as _, additive_attention},
    model::{BatchShape, Model, ModelFiles, Readout, StoredTensor},
    text::numbers::number_words,
    train::{Budget, Data, Decay, Destination, Event, PAGE, Schedule, Steps, TrainOptions, Trainer, train},
};

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bits() {
    let setting = Setting::new();
    // A validation every step or two, and a plateau that the few steps cannot but meet.
    let schedule = Schedule { warmup: 2, decay: Decay::Plateau { patience: 1 } };
    let options = TrainOptions { validate_every: Some(3), schedule, ..setting.options.clone() };
    let whole = setting.out("whole");
    let expected = run(&options, 10, &whole).unwrap();
    assert!(!expected.interrupted && expected.progress.finished && expected.progress.step == 10);
    // In the middle, where a validation is due, at the end of an epoch, twice, and after the last step.
    for stops in [vec![2], vec![3], vec![4], vec![6, 3], vec![10]] {
        let out = setting.out(&format!("stopped {stops:?}"));
        let mut done = 0;
        for after in &stops {
            let outcome = stopped(&options, 10, &out, *after);
            done += after;
            assert!(outcome.interrupted && outcome.progress.step == done, "{stops:?}: {outcome:?}");
        }
        let outcome = run(&options, 10, &out).unwrap();
        let (found, wanted) = (&outcome.progress, &expected.progress);
        assert_eq!((found.step, found.epoch, found.batch), (wanted.step, wanted.epoch, wanted.batch), "{stops:?}");
        assert_eq!((found.tokens, found.best, found.finished), (wanted.tokens, wanted.best, true), "{stops:?}");
        assert_eq!((found.unimproved, found.halvings), (wanted.unimproved, wanted.halvings), "{stops:?}");
        assert!(state(&out) == state(&whole), "{stops:?}: other bits");
    }
}

/// What `softalign tune` finds between two sessions of a run does not change its bits.
#[test]
fn a_resumed_run_keeps_the_tiles_that_it_began_with() {
    let setting = Setting::new();
    let session = |gpu: &Gpu, out: &Path, after: u64| {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == after
        };
        train(gpu, &setting.options, steps(6), Destination { folder: out, overwrite: false }, &stop, &mut |_| {})
            .unwrap()
    };
    let mut table = TileTable::default();
    let tile = additive_attention::Tile::candidates(common::gpu().tiles()).into_iter().next_back().unwrap();
    let value = serde_json::to_value(tile).unwrap();
    additive_attention::Tile::CLASSES
        .iter()
        .for_each(|class| table.set("additive_attention", class, Some(value.clone())));
    let (whole, parts) = (setting.out("whole"), setting.out("parts"));
    session(&common::gpu().with_tile_table(table.clone()), &whole, 100);
    session(&common::gpu().with_tile_table(table.clone()), &parts, 3);
    // A device of its own, so that its kernels can be told from those of the other sessions.
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let outcome = session(&gpu, &parts, 100);
    assert!(outcome.progress.finished && outcome.progress.step == 6);
    assert!(state(&parts) == state(&whole), "other bits");
    let attentions: Vec<_> =
        gpu.pipeline_labels().into_iter().filter(|label| label.starts_with("additive_attention/")).collect();
    let rows = format!("ROWS{}-", tile.rows);
    assert!(!attentions.is_empty() && attentions.iter().any(|label| label.contains(&rows)), "{attentions:?}");
}

#[test]
fn the_schedule_is_followed_and_patience_ends_a_run() {
    let setting = Setting::new();
    let schedule = Schedule { warmup: 5, decay: Decay::Linear { epochs: 5 } };
    let options = TrainOptions { schedule, validate_every: Some(1000), ..setting.options.clone() };
    let out = setting.out("linear");
    run(&options, 20, &out).unwrap();
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let values = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let rates: Vec<_> = values.filter_map(|value| value["learning_rate"].as_f64()).collect();
    // 60 pairs by 16: the steps of an epoch depend on how lengths fall into buckets, five epochs are more than 20 steps.
    assert_eq!(rates.len(), 2, "readings of steps 10 and 20: {metrics}");
    let largest = f64::from(options.learning_rate);
    assert!(largest > rates[0] && rates[0] > rates[1] && rates[1] > 0.0, "{rates:?}");

    // A learning rate too small to change any answer: every validation after the first is no improvement.
    let options = TrainOptions { learning_rate: 1e-30, validate_every: Some(2), ..setting.options.clone() };
    let patient = Budget { steps: Some(100), patience: Some(3), ..Budget::default() };
    let out = setting.out("patient");
    let again = || {
        train(common::gpu(), &options, patient, Destination { folder: &out, overwrite: false }, &|| false, &mut |_| {})
    };
    let outcome = again().unwrap();
    assert_eq!((outcome.progress.step, outcome.progress.unimproved, outcome.progress.finished), (8, 3, true));
    assert!(refusal(again()).contains("finished, after 8 steps"));
}

fn parameters(model: &Model) -> Vec<Vec<u8>> {
    let tensors = StoredTensor::of_parameters(&model.gpu, &model.parameters).unwrap();
    tensors.into_iter().map(|tensor| tensor.bytes).collect()
}

/// In memory the steps are those of a run, over the ends of epochs and with batches that make a step together.
#[test]
fn steps_in_memory_are_those_of_a_run() {
    let setting = Setting::new();
    let schedule = Schedule { warmup: 3, decay: Decay::InverseSqrt };
    for (name, accumulate) in [("alone", 1), ("together", 2)] {
        let options = TrainOptions { schedule, accumulate, validate_every: Some(1000), ..setting.options.clone() };
        let out = setting.out(name);
        run(&options, 20, &out).unwrap();
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let values = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let wanted: Vec<_> =
            values.filter_map(|value| Some((value["step"].as_u64()?, value["loss"].as_f64()?))).collect();
        assert_eq!(wanted.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [10, 20]);

        let mut training = Steps::new(common::gpu(), &options).unwrap();
        assert_eq!(training.unseen().len(), 6);
        let readings = pollster::block_on(async {
            let mut readings = Vec::new();
            while training.step() < 20 {
                readings.extend(training.advance().await.unwrap());
                assert!(readings.len() as u64 + 2 >= training.step(), "at most two steps are under way");
            }
            readings.extend(training.settle().await.unwrap());
            readings
        });
        assert_eq!(readings.iter().map(|reading| reading.step).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
        for (step, loss) in wanted {
            assert_eq!(f64::from(readings[step as usize - 1].loss), loss, "{name}, step {step}");
        }
        assert!(parameters(training.model()) == parameters(&Model::load(common::gpu(), &out).unwrap()), "{name}");
    }
    let refused =
        Steps::new(common::gpu(), &TrainOptions { from: Some("runs/mine".into()), ..setting.options.clone() });
    assert!(refusal(refused).contains("in memory alone"));
}

#[test]
fn a_model_from_files_in_memory_is_that_of_its_folder() {
    let setting = Setting::new();
    let (gpu, out) = (common::gpu(), setting.out("run"));
    run(&setting.options, 5, &out).unwrap();
    let files: ModelFiles = Model::FILES.map(|name| (name.to_owned(), fs::read(out.join(name)).unwrap())).into();
    let (folder, memory) = (Model::load(gpu, &out).unwrap(), Model::load_files(gpu, &files).unwrap());
    assert!(parameters(&folder) == parameters(&memory));
    assert_eq!(folder.generate_text("123").unwrap(), memory.generate_text("123").unwrap());
    for name in Model::FILES {
        let (mut fewer, mut other) = (files.clone(), files.clone());
        fewer.remove(name);
        assert!(refusal(Model::load_files(gpu, &fewer)).contains(&format!("{name}: is missing")), "{name}");
        other.get_mut(name).unwrap().push(b' ');
        assert!(refusal(Model::load_files(gpu, &other)).contains(name), "{name}");
    }
}

#[test]
fn the_seed_decides_every_bit() {
    let setting = Setting::new();
    let other = TrainOptions { seed: 2, ..setting.options.clone() };
    let [a, b, c] = [("a", &setting.options), ("b", &setting.options), ("c", &other)].map(|(name, options)| {
        let out = setting.out(name);
        run(options, 3, &out).unwrap();
        state(&out)
    });
    assert!(a == b, "the same seed gave other bits");
    let file = |name: &str| fs::read(setting.out(name).join("model.safetensors")).unwrap();
    assert!(file("a") == file("b"), "the same tensors made other files");
    assert!(a[0].iter().all(|(name, tensor)| c[0][name] != *tensor), "another seed gave some of the same bits");
}

#[test]
fn a_folder_says_what_it_holds_and_keeps_it() {
    let setting = Setting::new();
    let Setting { options, .. } = &setting;
    let out = setting.out("run");
    run(options, 2, &out).unwrap();
    let before = state(&out);
    let message = refusal(run(options, 2, &out));
    assert!(message.contains("finished, after 2 steps") && message.contains("`steps`"), "{message}");

    let other = TrainOptions { label_smoothing: 0.3, ..options.clone() };
    let message = refusal(run(&other, 2, &out));
    assert!(message.contains("label_smoothing is 0.1 there and 0.3 here"), "{message}");
    assert!(message.contains("another folder") && message.contains("`overwrite`"), "{message}");
    assert!(state(&out) == before, "a refused run changed the folder");

    // A run that cannot start leaves what it would have replaced.
    let replace = |options: &TrainOptions| {
        train(common::gpu(), options, steps(1), Destination { folder: &out, overwrite: true }, &|| false, &mut |_| {})
    };
    let missing = Data::Files { train: "no such file.tsv".into(), valid: "no such file.tsv".into() };
    assert!(refusal(replace(&TrainOptions { data: missing, ..options.clone() })).contains("no such file.tsv"));
    assert!(refusal(replace(&TrainOptions { max_length: 1, ..options.clone() })).contains("`max_length`"));
    assert!(state(&out) == before, "a run that could not start changed the folder");

    fs::write(out.join("notes.txt"), "mine").unwrap();
    fs::write(out.join(PAGE), "about the run before").unwrap();
    let outcome = replace(&other).unwrap();
    assert_eq!(outcome.progress.step, 1);
    assert!(!out.join(PAGE).exists(), "the page is about a run that is gone");
    assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
    assert!(state(&out) != before);
    assert!(refusal(run(options, 2, &out)).contains("different run"));

    // More steps go on with a finished run, but not with other data.
    let Data::Files { train, .. } = &options.data else { unreachable!() };
    let text = fs::read_to_string(train).unwrap();
    fs::write(train, format!("{text}1\tone\n")).unwrap();
    let message = refusal(run(&other, 2, &out));
    assert!(message.contains("train.tsv") && message.contains("has other content"), "{message}");
    fs::write(train, text).unwrap();
    let outcome = run(&other, 2, &out).unwrap();
    assert_eq!(outcome.progress.step, 2);
}

/// As a shell's `--train <(zcat pairs.tsv.gz)` gives them.
#[cfg(unix)]
#[test]
fn pairs_may_come_through_a_pipe() {
    let setting = Setting::new();
    let Data::Files { train, valid } = &setting.options.data else { unreachable!() };
    let (pipe, out) = (setting.out("pipe"), setting.out("run"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let options =
        TrainOptions { data: Data::Files { train: pipe.clone(), valid: valid.clone() }, ..setting.options.clone() };
    for steps in [1, 2] {
        let (pipe, text) = (pipe.clone(), fs::read(train).unwrap());
        let writer = std::thread::spawn(move || fs::write(pipe, text).unwrap());
        assert_eq!(run(&options, steps, &out).unwrap().progress.step, steps);
        writer.join().unwrap();
    }
}

#[test]
fn a_folder_of_other_files_is_left_alone() {
    let setting = Setting::new();
    let out = setting.out("photographs");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("cat.png"), "meow").unwrap();
    let message = refusal(run(&setting.options, 1, &out));
    assert!(message.contains("photographs") && message.contains("holds no run"), "{message}");
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cat.png"]);
    assert_eq!(fs::read_to_string(out.join("cat.png")).unwrap(), "meow");
    // A file where the folder should be.
    refusal(run(&setting.options, 1, &out.join("cat.png")));
    // A run that fails before its first step does not make a folder that would then refuse the corrected one.
    let fresh = setting.out("fresh");
    refusal(run(&TrainOptions { max_length: 1, ..setting.options.clone() }, 1, &fresh));
    assert!(run(&setting.options, 1, &fresh).is_ok());
}

#[test]
fn options_that_make_no_run_are_named() {
    let setting = Setting::new();
    let base = || setting.options.clone();
    let with_decay = |decay| TrainOptions { schedule: Schedule { warmup: 0, decay }, ..base() };
    let wrong = [
        ("`batch`", TrainOptions { batch: 0, ..base() }),
        ("`batch_tokens`", TrainOptions { batch_tokens: Some(0), ..base() }),
        ("`accumulate`", TrainOptions { accumulate: 0, ..base() }),
        ("`ema`", TrainOptions { ema: Some(1.0), ..base() }),
        ("`learning_rate`", TrainOptions { learning_rate: f32::NAN, ..base() }),
        ("`decay`", with_decay(Decay::Linear { epochs: 0 })),
        ("`decay`", with_decay(Decay::Plateau { patience: 0 })),
        ("`clip_norm`", TrainOptions { clip_norm: 0.0, ..base() }),
        ("`weight_decay`", TrainOptions { weight_decay: -1.0, ..base() }),
        ("`label_smoothing`", TrainOptions { label_smoothing: 1.0, ..base() }),
        ("`dropout`", TrainOptions { dropout: 1.0, ..base() }),
        ("`dropout_state`", TrainOptions { dropout_state: -0.1, ..base() }),
        ("`dropout_words`", TrainOptions { dropout_words: f32::NAN, ..base() }),
        ("`coverage_weight`", TrainOptions { coverage_weight: -1.0, ..base() }),
        ("`hidden`", TrainOptions { hidden: 0, ..base() }),
        ("`embedding`", TrainOptions { embedding: 0, ..base() }),
        ("`tie_embeddings`", TrainOptions { tie_embeddings: true, readout: Readout::None, ..base() }),
        ("`layers`", TrainOptions { layers: 0, ..base() }),
        ("`keep_best`", TrainOptions { keep_best: 1, ..base() }),
        ("`validate_every`", TrainOptions { validate_every: Some(0), ..base() }),
        ("hidden", TrainOptions { hidden: usize::MAX, ..base() }),
        ("layers", TrainOptions { layers: usize::MAX, ..base() }),
    ];
    for (option, options) in wrong {
        let message = refusal(run(&options, 1, &setting.out("none")));
        assert!(message.contains(option), "{option}: {message}");
    }
    let budget = Budget { minutes: Some(f64::NAN), ..Budget::default() };
    let result = train(
        common::gpu(),
        &base(),
        budget,
        Destination { folder: &setting.out("none"), overwrite: false },
        &|| false,
        &mut |_| {},
    );
    assert!(refusal(result).contains("`minutes`"));
    let budget = Budget { patience: Some(0), ..Budget::default() };
    let result = train(
        common::gpu(),
        &base(),
        budget,
        Destination { folder: &setting.out("none"), overwrite: false },
        &|| false,
        &mut |_| {},
    );
    assert!(refusal(result).contains("`patience`"));
    // Larger than any adapter: the message says limit, need and remedy.
    let error = run(&TrainOptions { hidden: 1 << 20, ..base() }, 1, &setting.out("none")).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    assert!(!setting.out("none").exists());
}

#[test]
fn metrics_are_whole_lines_without_repeated_steps() {
    let setting = Setting::new();
    let options = TrainOptions { validate_every: Some(15), ..setting.options.clone() };
    let out = setting.out("run");
    stopped(&options, 40, &out, 12);
    // What a killed session leaves: lines of steps that will be done again, the last one torn.
    let path = out.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"step\":20,\"loss\":1.0}}\n{{\"step\":30,\"lo")).unwrap();
    run(&options, 40, &out).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n'));
    let (mut losses, mut validations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let step = value["step"].as_u64().unwrap();
        if value["valid"].is_object() {
            assert!(value["valid"]["exact_match"].is_number(), "{line}");
            validations.push(step);
        } else {
            assert!(value["loss"].as_f64().unwrap() > 0.0 && value["grad_norm"].is_number(), "{line}");
            assert!(value["tokens_per_second"].as_f64().unwrap() > 0.0, "{line}");
            losses.push(step);
        }
    }
    assert_eq!(losses, [10, 20, 30, 40]);
    assert_eq!(validations, [15, 30, 40]);
}

/// Of a large file only some sources are looked at during training, but each with all its right answers.
#[test]
fn a_validation_looks_at_whole_sources() {
    let setting = Setting::new();
    let valid = setting.out("many.tsv");
    let text: String = (0..1200).map(|n| format!("{}\t{}\n", n / 2, number_words(n % 1000))).collect();
    fs::write(&valid, text).unwrap();
    let Data::Files { train: path, .. } = &setting.options.data else { unreachable!() };
    let data = Data::Files { train: path.clone(), valid };
    // 1,200 pairs, but 600 sources: none is left out, and a source's answers are grouped. One step and one validation.
    let (mut count, mut pairs) = (0, 0);
    let options = TrainOptions { data, max_length: 8, group_references: true, ..setting.options.clone() };
    let out = setting.out("run");
    train(common::gpu(), &options, steps(1), Destination { folder: &out, overwrite: false }, &|| false, &mut |event| {
        match event {
            Event::Started { valid, .. } => pairs = valid,
            Event::Validated { found, .. } => count = found.scores.unwrap().count,
            _ => {}
        }
    })
    .unwrap();
    assert_eq!((pairs, count), (1200, 600));
}

#[test]
fn a_step_is_one_submit_makes_nothing_and_waits_for_the_step_before_last() {
    // A device of its own, for its counters.
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap();
    let setting = Setting::new();
    let tiny = tiny(gpu, &setting, 16);
    let (mut trainer, batch) = (tiny.trainer(), tiny.batch());
    let dispatches = trainer.prepare(batch.shape).unwrap().recording().dispatches() as u64;
    trainer.step(&batch, 1, 1, 1e-3).unwrap();
    let before = gpu.counters();
    for step in 2..=6 {
        trainer.step(&batch, step, 1, 1e-3).unwrap();
    }
    // Step 2 finds one step under way, and waits for nothing.
    let expected = Counters {
        submits: before.submits + 5,
        dispatches: before.dispatches + 5 * dispatches,
        waits: before.waits + 4,
        ..before
    };
    assert_eq!(gpu.counters(), expected);
}

#[test]
fn dispatches_grow_with_the_steps_alone() {
    let gpu = common::gpu();
    let setting = Setting::new();
    let mut trainer = tiny(gpu, &setting, 16).trainer();
    let mut count = |batch, source, target| {
        trainer.prepare(BatchShape::new(batch, source, target)).unwrap().recording().dispatches()
    };
    let base = count(16, 4, 4);
    assert_eq!(count(4, 4, 4), base, "four rows");
    // The last states of one row, 64 bytes, begin where no tensor can: they are copied, and so is their gradient.
    assert_eq!(count(1, 4, 4), base + 2, "one row");
    assert_eq!(count(64, 4, 4), base, "64 rows");
    let (source, target) = (count(16, 5, 4) - base, count(16, 4, 5) - base);
    println!("{base} dispatches at 4 and 4 steps; {source} more a source step, {target} more a target step");
    assert_eq!(count(16, 8, 7), base + 4 * source + 3 * target, "linear in the steps");
    assert!(source <= SOURCE_STEP && target <= TARGET_STEP, "{source}, {target}");
    assert!(base <= OTHERS + 4 * (source + target), "{base}");
}

/// Dispatches of a source step, of a target step and of all else in a training step, forward and backward, at most.
const SOURCE_STEP: usize = 4;
const TARGET_STEP: usize = 7;
const OTHERS: usize = 90;

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_is_reported() {
    let gpu = common::gpu();
    let setting = Setting::new();
    let tiny = tiny(gpu, &setting, 16);
    let (mut trainer, batch) = (tiny.trainer(), tiny.batch());
    trainer.step(&batch, 1, 1, 1e-3).unwrap();
    let faults = |trainer: &Trainer| {
        let report = trainer.state.read_report(gpu).unwrap();
        (report.skipped, report.last_skipped)
    };
    assert_eq!(faults(&trainer), (0, 0));
    let bias = tiny.model.parameters.tensor("output.bias").unwrap();
    let mut values: Vec<f32> = gpu.read(&bias).unwrap();
    values[4] = f32::NAN;
    gpu.write(&bias, &values).unwrap();
    let all = |trainer: &Trainer| -> Vec<Vec<u32>> {
        let state = &trainer.state;
        let blocks = [&state.parameters, &state.first, &state.second].map(|tensors| tensors.blocks().iter());
        blocks.into_iter().flatten().map(|block| common::bits(gpu, block)).collect()
    };
    let before = all(&trainer);
    for step in 2..=4 {
        trainer.step(&batch, step, 1, 1e-3).unwrap();
    }
    assert_eq!(faults(&trainer), (3, 4), "three skipped, the last of them step 4");
    assert!(all(&trainer) == before, "a skipped step changed something");
    // Repaired, it goes on.
    values[4] = 0.0;
    gpu.write(&bias, &values).unwrap();
    let before = all(&trainer);
    trainer.step(&batch, 5, 1, 1e-3).unwrap();
    assert!(all(&trainer) != before);
    assert_eq!(faults(&trainer), (3, 4));
}

#[test]
fn a_search_for_the_first_value_that_is_not_finite_names_kernel_tensor_and_place() {
    let gpu = Gpu::open(&GpuOptions { check_finite: true, ..GpuOptions::default() }).unwrap();
    let setting = Setting::new();
    let tiny = tiny(&gpu, &setting, 16);
    let (mut trainer, batch) = (tiny.trainer(), tiny.batch());
    // Nothing is found where nothing is wrong, masked steps and slots that were used before included.
    for step in 1..=2 {
        trainer.step(&batch, step, 1, 1e-3).unwrap();
    }
    let source = tiny.model.encode("123").unwrap();
    Generator::new(&tiny.model).generate(&[source], &SearchOptions::beam(3)).unwrap();
    let bias = tiny.model.parameters.tensor("output.bias").unwrap();
    let mut values: Vec<f32> = gpu.read(&bias).unwrap();
    values[4] = f32::NAN;
    gpu.write(&bias, &values).unwrap();
    let error = trainer.step(&batch, 3, 1, 1e-3).unwrap_err();
    match &error {
        Error::BecameNonFinite { step: 3, kernel, found, cause, .. } => {
            assert!(kernel.starts_with("matmul/"), "{kernel}");
            assert!(found.starts_with("NaN to `C`") && found.ends_with("4]"), "{found}");
            assert_eq!(cause, "there were such values in `bias`");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_run_that_is_lost_says_so() {
    let setting = Setting::new();
    let options = TrainOptions { learning_rate: 3e38, validate_every: Some(1000), ..setting.options.clone() };
    let mut skipped = 0;
    let result = train(
        common::gpu(),
        &options,
        steps(200),
        Destination { folder: &setting.out("run"), overwrite: false },
        &|| false,
        &mut |event| {
            if let Event::Step { reading, .. } = event {
                skipped = reading.skipped;
            }
        },
    );
    assert!(matches!(result, Err(Error::NonFinite { .. })), "{result:?}");
    assert!(skipped > 50, "{skipped} skipped steps were shown");
    let message = result.unwrap_err().to_string();
    assert!(message.contains("not finite") && message.contains("learning rate"), "{message}");
    // NaN is no JSON; the lines stay whole.
    let metrics = fs::read_to_string(setting.out("run").join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

type Owned = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// Writes a safetensors file anew, as `edit` has changed its tensors, and without metadata, as other programs do.
fn rewrite(path: &Path, edit: impl FnOnce(&mut Owned)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Owned = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    edit(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
}

fn transpose(tensors: &mut Owned) {
    let matrix = tensors.iter_mut().find(|(_, _, shape, _)| shape.len() == 2 && shape[0] != shape[1]).unwrap();
    matrix.2.reverse();
}

fn add(tensors: &mut Owned) {
    tensors.push(("extra".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
}

#[test]
fn damaged_folders_are_refused_by_the_name_of_the_file() {
    let setting = Setting::new();
    let whole = setting.out("whole");
    stopped(&setting.options, 4, &whole, 2);
    type Damage = (&'static str, &'static str, fn(&Path));
    let checkpoints: [Damage; 6] = [
        ("checkpoint.safetensors", "truncated", truncate),
        ("checkpoint.safetensors", "empty", |path| fs::write(path, "").unwrap()),
        ("checkpoint.safetensors", "transposed", |path| rewrite(path, transpose)),
        ("checkpoint.safetensors", "missing tensor", |path| rewrite(path, |tensors| drop(tensors.pop()))),
        ("checkpoint.safetensors", "extra tensor", |path| rewrite(path, add)),
        ("run.json", "truncated", truncate),
    ];
    for (file, damage, apply) in checkpoints {
        let out = setting.out(&format!("{file} {damage}"));
        copy(&whole, &out);
        apply(&out.join(file));
        let message = refusal(run(&setting.options, 4, &out));
        assert!(message.contains(file) && message.contains("`overwrite`"), "{damage}: {message}");
    }
    let models: [Damage; 18] = [
        ("model.safetensors", "truncated", truncate),
        ("model.safetensors", "empty", |path| fs::write(path, "").unwrap()),
        ("model.safetensors", "missing", |path| fs::remove_file(path).unwrap()),
        ("model.safetensors", "transposed", |path| rewrite(path, transpose)),
        ("model.safetensors", "missing tensor", |path| rewrite(path, |tensors| drop(tensors.pop()))),
        ("model.safetensors", "extra tensor", |path| rewrite(path, add)),
        ("model.safetensors", "not a number", |path| {
            rewrite(path, |tensors| tensors[0].3[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
        }),
        ("model.safetensors", "integers", |path| rewrite(path, |tensors| tensors[0].1 = Dtype::I32)),
        ("config.json", "truncated", truncate),
        ("config.json", "missing", |path| fs::remove_file(path).unwrap()),
        ("config.json", "unknown field", |path| replace(path, "\"hidden\"", "\"hiden\"")),
        ("config.json", "no layers", |path| replace(path, "\"encoder_layers\": 1", "\"encoder_layers\": 0")),
        ("config.json", "endless", |path| replace(path, "\"hidden\": 16", "\"hidden\": 18446744073709551615")),
        ("config.json", "other kind", |path| replace(path, "seq2seq", "transformer")),
        ("source.tokenizer.json", "truncated", truncate),
        ("source.tokenizer.json", "missing", |path| fs::remove_file(path).unwrap()),
        ("target.tokenizer.json", "missing", |path| fs::remove_file(path).unwrap()),
        ("target.tokenizer.json", "of another model", |path| {
            fs::copy(path.with_file_name("source.tokenizer.json"), path).map(drop).unwrap();
        }),
    ];
    assert!(Model::load(common::gpu(), &whole).is_ok());
    for (file, damage, apply) in models {
        let out = setting.out(&format!("model {file} {damage}"));
        copy(&whole, &out);
        // Parameters from elsewhere have no checksums, and what they stand beside is looked at all the same.
        forget_checksums(&out);
        apply(&out.join(file));
        let message = refusal(Model::load(common::gpu(), &out));
        assert!(message.contains(file), "{file} {damage}: {message}");
    }
    // Another size than the weights have.
    let out = setting.out("another size");
    copy(&whole, &out);
    forget_checksums(&out);
    replace(&out.join("config.json"), "\"hidden\": 16", "\"hidden\": 20");
    let message = refusal(Model::load(common::gpu(), &out));
    assert!(message.contains("model.safetensors") && message.contains("the model asks for"), "{message}");
    assert!(refusal(Model::load(common::gpu(), setting.out("nowhere"))).contains("nowhere"));
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn weights_have_the_names_of_pytorch_and_may_be_halves() {
    let setting = Setting::new();
    let tiny = tiny(common::gpu(), &setting, 16);
    let whole = setting.out("model");
    tiny.model.save(&whole).unwrap();
    let tensors = bits(&whole.join("model.safetensors"));
    let names: Vec<_> = tensors.keys().map(String::as_str).collect();
    let gru = ["bias_hh", "bias_ih", "weight_hh", "weight_ih"];
    let mut expected: Vec<String> = [
        "encoder.embedding.weight",
        "bridge.weight",
        "bridge.bias",
        "attention.query.weight",
        "attention.key.weight",
        "attention.key.bias",
        "attention.energy.weight",
        "decoder.embedding.weight",
        "readout.weight",
        "readout.bias",
        "output.weight",
        "output.bias",
    ]
    .map(str::to_owned)
    .into();
    for part in gru {
        expected.push(format!("decoder.cell.{part}"));
        expected.extend(["", "_reverse"].map(|way| format!("encoder.gru.{part}_l0{way}")));
    }
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(tensors["attention.energy.weight"].0, [1, 16]);
    assert_eq!(tensors["decoder.cell.weight_ih"].0, [48, 8 + 32]);

    for (dtype, halve) in [
        (Dtype::F16, (|value| f16::from_f32(value).to_bits()) as fn(f32) -> u16),
        (Dtype::BF16, |value| bf16::from_f32(value).to_bits()),
    ] {
        let out = setting.out(&format!("{dtype:?}"));
        copy(&whole, &out);
        rewrite(&out.join("model.safetensors"), |tensors| {
            for (_, kept_as, _, data) in tensors {
                let (words, _) = data.as_chunks::<4>();
                let halves = words.iter().flat_map(|word| halve(f32::from_le_bytes(*word)).to_le_bytes());
                (*kept_as, *data) = (dtype, halves.collect());
            }
        });
        let model = Model::load(common::gpu(), &out).unwrap();
        for (name, (_, values)) in &tensors {
            let found: Vec<f32> = common::gpu().read(&model.parameters.tensor(name).unwrap()).unwrap();
            for (found, value) in found.iter().zip(values) {
                let value = f32::from_bits(*value);
                let half = halve(value);
                let wanted =
                    if dtype == Dtype::F16 { f16::from_bits(half).to_f32() } else { bf16::from_bits(half).to_f32() };
                assert_eq!(*found, wanted, "{dtype:?} {name}");
            }
        }
    }
}
