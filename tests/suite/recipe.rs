//! What a recipe for training is made of: batches by tokens, batches that are added up, averages of parameters, tied tables, the best
//! models and what they are.

use std::{cmp::Ordering, fs, path::Path};

use crate::common::{
    self,
    training::{Setting, bits, epochs, forget_checksums, refusal, run, steps, tiny},
};
use softalign::{
    Gpu, GpuOptions,
    generate::{Likelihood, Scorer},
    gpu::{Counters, Dtype},
    graph::Parameters,
    model::{
        BatchShape, Metadata, Model, Regularisation, StoredTensor,
        bahdanau::{Bahdanau, Config, Readout},
        write_tensors,
    },
    reference::adam::average,
    text::{Batch, BatchPlan, encode_pairs, read_tsv},
    train::{BEST, Budget, Data, Destination, Event, Kept, Metric, Optimizer, Part, TrainOptions, Trainer, train},
};

fn values(gpu: &Gpu, parameters: &Parameters, name: &str) -> Vec<f64> {
    gpu.read::<f32>(&parameters.tensor(name).unwrap()).unwrap().into_iter().map(f64::from).collect()
}

/// Two batches of one shape as one.
fn joined(a: &Batch, b: &Batch) -> Batch {
    assert_eq!((a.shape.source, a.shape.target), (b.shape.source, b.shape.target));
    Batch {
        shape: BatchShape { rows: a.shape.rows + b.shape.rows, ..a.shape },
        source: [&*a.source, &*b.source].concat(),
        lengths: [&*a.lengths, &*b.lengths].concat(),
        target_in: [&*a.target_in, &*b.target_in].concat(),
        target_out: [&*a.target_out, &*b.target_out].concat(),
        indices: [&*a.indices, &*b.indices].concat(),
        target_tokens: a.target_tokens + b.target_tokens,
        ..a.clone()
    }
}

fn smoothed() -> Regularisation {
    Regularisation { label_smoothing: 0.1, ..Regularisation::default() }
}

/// The tiny model's trainer, with another optimiser.
fn trainer(gpu: &Gpu, setting: &Setting, optimizer: Optimizer) -> Trainer {
    let model = tiny(gpu, setting, 8).model;
    Trainer::new(gpu, model.network.clone(), &model.parameters, optimizer, smoothed()).unwrap()
}

const CLIPPED: Optimizer = Optimizer {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    clip_norm: Some(1.0),
    weight_decay: 0.01,
    spares_biases: true,
    rates: Vec::new(),
    average_decay: None,
    accumulate: false,
    precision: Dtype::F32,
    shard: None,
};

#[test]
fn batches_added_up_are_one_large_batch() {
    let (gpu, setting) = (common::gpu(), Setting::new());
    let buckets = tiny(gpu, &setting, 8).buckets;
    // Two full batches of one shape, one of which loses half of its rows: a mean of means would be another.
    let plans = buckets.in_order();
    let same = |pair: &&[BatchPlan]| buckets.shape(&pair[0]) == buckets.shape(&pair[1]);
    let pair = plans.windows(2).find(same).expect("two batches of one shape");
    let [first, mut second] = [&pair[0], &pair[1]].map(|plan| buckets.batch(plan));
    let half = second.target_out.len() / 2;
    second.target_tokens -= second.target_out[half..].iter().filter(|token| **token != 0).count();
    second.target_out[half..].fill(0);
    assert!(first.target_tokens > second.target_tokens && second.target_tokens > 0);
    let large = joined(&first, &second);
    let mut whole = trainer(gpu, &setting, CLIPPED);
    let mut parts = trainer(gpu, &setting, Optimizer { accumulate: true, ..CLIPPED });
    for step in 1..=3 {
        whole.step(&large, step, 1, 1e-3).unwrap();
        for (index, batch) in [(0, &first), (1, &second)] {
            let all = Part::of(&[&first, &second]);
            parts.part(batch, Part { index, ..all }, step, 1, 1e-3).unwrap();
        }
        let reports: [Vec<f32>; 2] = [&whole, &parts].map(|trainer| gpu.read(&trainer.state.report).unwrap());
        for (name, index) in [("norm", 0), ("made", 1), ("loss", 4)] {
            let [expected, found] = [reports[0][index], reports[1][index]];
            assert!((found / expected - 1.0).abs() < 1e-5, "step {step}: {name} {found}, expected {expected}");
        }
        let total = parts.state.total.as_ref().unwrap();
        for name in total.names() {
            let (expected, found) = (values(gpu, &whole.state.gradients, name), values(gpu, total, name));
            let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            let (expected_after, found_after) =
                (values(gpu, &whole.state.parameters, name), values(gpu, &parts.state.parameters, name));
            for at in 0..expected.len() {
                let error = (expected[at] - found[at]).abs();
                assert!(error <= 2e-5 * largest + 1e-9, "step {step}: gradient of {name}: {error} of {largest}");
                // Adam divides a gradient by its size: what rounding leaves of nothing may become a whole step.
                let error = (expected_after[at] - found_after[at]).abs();
                let bound = if expected[at].abs() > 1e-3 * largest { 2e-5 } else { 7e-3 };
                assert!(error <= bound, "step {step}: {name} is off by {error}");
            }
        }
    }
}

#[test]
fn a_recipe_costs_no_dispatch_no_submit_and_no_wait() {
    // A device of its own, for its counters.
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap();
    let setting = Setting::new();
    let buckets = tiny(gpu, &setting, 8).buckets;
    let batch = buckets.batch(&buckets.in_order()[0]);
    let mut plain = trainer(gpu, &setting, CLIPPED);
    let mut trainer = trainer(gpu, &setting, Optimizer { accumulate: true, average_decay: Some(0.99), ..CLIPPED });
    let dispatches =
        [&mut plain, &mut trainer].map(|trainer| trainer.prepare(batch.shape).unwrap().recording().dispatches() as u64);
    assert_eq!(dispatches[0], dispatches[1], "adding up and averaging ride on passes that are there");
    let mut part = |step, index| {
        trainer.part(&batch, Part { index, ..Part::of(&[&batch; 3]) }, step, 1, 1e-3).unwrap();
    };
    part(1, 0);
    part(1, 1);
    let before = gpu.counters();
    for (step, index) in [(1, 2), (2, 0), (2, 1), (2, 2)] {
        part(step, index);
    }
    let expected = Counters {
        submits: before.submits + 4,
        dispatches: before.dispatches + 4 * dispatches[0],
        waits: before.waits + 4,
        ..before
    };
    assert_eq!(gpu.counters(), expected);
}

#[test]
fn the_average_follows_the_parameters_and_skips_what_they_skip() {
    let (gpu, setting) = (common::gpu(), Setting::new());
    let buckets = tiny(gpu, &setting, 8).buckets;
    let batch = buckets.batch(&buckets.in_order()[0]);
    let mut trainer = trainer(gpu, &setting, Optimizer { average_decay: Some(0.7), ..CLIPPED });
    let averages = trainer.state.average.clone().unwrap();
    let names = ["encoder.embedding.weight", "decoder.cell.weight_hh", "output.bias"];
    let mut expected = names.map(|name| values(gpu, &trainer.state.parameters, name));
    assert!(names.iter().zip(&expected).all(|(name, first)| values(gpu, &averages, name) == *first), "a copy at first");
    for step in 1..=40 {
        // Step 30 has no number for a loss.
        let learning_rate = 1e-2;
        let bias = trainer.state.parameters.tensor("output.bias").unwrap();
        let kept: Vec<f32> = gpu.read(&bias).unwrap();
        if step == 30 {
            gpu.write(&bias, &vec![f32::NAN; kept.len()]).unwrap();
        }
        trainer.step(&batch, step, 1, learning_rate).unwrap();
        if step == 30 {
            gpu.write(&bias, &kept).unwrap();
            continue;
        }
        for (name, expected) in names.iter().zip(&mut expected) {
            average(0.7, step, expected, &values(gpu, &trainer.state.parameters, name));
        }
    }
    for (name, expected) in names.iter().zip(&expected) {
        let found = values(gpu, &averages, name);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
        assert!(found != values(gpu, &trainer.state.parameters, name), "{name} is no average");
    }
}

#[test]
fn the_averaged_parameters_are_validated_and_saved() {
    let setting = Setting::new();
    let options = TrainOptions { ema: Some(0.9), validate_every: Some(4), ..setting.options.clone() };
    let (averaged, raw) = (setting.out("averaged"), setting.out("raw"));
    // The only validation is the last step's, so that the model is what the checkpoint holds.
    run(&options, 4, &averaged).unwrap();
    run(&TrainOptions { ema: None, ..options.clone() }, 4, &raw).unwrap();
    let (model, checkpoint) =
        (bits(&averaged.join("model.safetensors")), bits(&averaged.join("checkpoint.safetensors")));
    let others = bits(&raw.join("checkpoint.safetensors"));
    for (name, tensor) in &model {
        assert!(checkpoint[&format!("average.{name}")] == *tensor, "{name} is not the average");
        let parameter = &checkpoint[&format!("parameter.{name}")];
        assert!(parameter != tensor, "{name} is not averaged");
        assert!(others[&format!("parameter.{name}")] == *parameter, "{name}: averaging changed the training");
    }
}

#[test]
fn a_tied_table_has_the_gradients_of_both_its_uses() {
    let (gpu, setting) = (common::gpu(), Setting::new());
    let small = tiny(gpu, &setting, 8);
    let batch = small.buckets.batch(&small.buckets.in_order()[0]);
    let config = Config { readout_size: 8, ..serde_json::from_str(&small.model.network.config().unwrap()).unwrap() };
    let model = |tie_embeddings| {
        let (source, target) = (small.model.source.clone(), small.model.target.clone());
        Model::new(gpu, Bahdanau::new(Config { tie_embeddings, ..config.clone() }).unwrap(), source, target, 3).unwrap()
    };
    let (tied, untied) = (model(true), model(false));
    assert_eq!(tied.parameters.elements() + 8 * config.target_vocabulary, untied.parameters.elements());
    for name in untied.parameters.names() {
        let from = if name == "output.weight" { "decoder.embedding.weight" } else { name };
        let values: Vec<f32> = gpu.read(&tied.parameters.tensor(from).unwrap()).unwrap();
        gpu.write(&untied.parameters.tensor(name).unwrap(), &values).unwrap();
    }
    let [tied, untied] = [&tied, &untied].map(|model| {
        let mut trainer = Trainer::new(gpu, model.network.clone(), &model.parameters, CLIPPED, smoothed()).unwrap();
        trainer.step(&batch, 1, 1, 1e-3).unwrap();
        trainer
    });
    let losses = [&tied, &untied].map(|trainer| gpu.read::<u32>(&trainer.loss).unwrap());
    assert_eq!(losses[0], losses[1], "the forward pass is the same");
    for name in tied.state.gradients.names() {
        let found = values(gpu, &tied.state.gradients, name);
        let mut expected = values(gpu, &untied.state.gradients, name);
        if name == "decoder.embedding.weight" {
            let output = values(gpu, &untied.state.gradients, "output.weight");
            expected.iter_mut().zip(&output).for_each(|(sum, value)| *sum += value);
        }
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * largest), "{name}");
    }
}

#[test]
fn a_tied_model_is_one_tensor_in_its_folder() {
    let setting = Setting::new();
    let options = TrainOptions { tie_embeddings: true, ..setting.options.clone() };
    let out = setting.out("tied");
    run(&options, 3, &out).unwrap();
    let weights = out.join("model.safetensors");
    let tensors = bits(&weights);
    assert!(!tensors.contains_key("output.weight") && tensors["readout.weight"].0 == [8, 3 * 16 + 8]);
    let write = |second: Option<f32>| {
        let mut stored: Vec<_> = tensors
            .iter()
            .map(|(name, (shape, bits))| StoredTensor {
                name: name.clone(),
                shape: shape.clone(),
                bytes: bits.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
            })
            .collect();
        let table = stored.iter().find(|tensor| tensor.name == "decoder.embedding.weight").unwrap();
        if let Some(first) = second {
            let mut bytes = table.bytes.clone();
            if first != 0.0 {
                bytes[..4].copy_from_slice(&first.to_le_bytes());
            }
            stored.push(StoredTensor { name: "output.weight".into(), bytes, ..table.clone() });
        }
        write_tensors(&weights, &stored, Metadata::new()).unwrap();
    };
    let load = || Model::load(common::gpu(), &out);
    let generated = |model: &Model| {
        let source = model.encode("123").unwrap();
        softalign::generate::Generator::new(model).generate(&[source], &Default::default()).unwrap()
    };
    let expected = generated(&load().unwrap());
    // As PyTorch's state_dict has it, under both names.
    write(Some(0.0));
    assert_eq!(generated(&load().unwrap()), expected);
    write(Some(7.0));
    let message = refusal(load());
    assert!(message.contains("output.weight") && message.contains("tied"), "{message}");
    // A folder from before there were ties says nothing of them.
    let untied = setting.out("untied");
    run(&setting.options, 1, &untied).unwrap();
    let config = fs::read_to_string(untied.join("config.json")).unwrap();
    assert!(config.contains("\"tie_embeddings\": false,"), "{config}");
    forget_checksums(&untied);
    fs::write(untied.join("config.json"), config.replace("\"tie_embeddings\": false,", "")).unwrap();
    assert!(Model::load(common::gpu(), &untied).is_ok());
    // Sizes that cannot be tied.
    for (readout, readout_size) in [(Readout::Tanh, 9), (Readout::None, 8)] {
        let config = Config { embedding: 8, readout, readout_size, tie_embeddings: true, ..Config::new(10, 10) };
        let message = refusal(config.check("config.json").map(|()| "accepted"));
        assert!(message.contains("config.json") && message.contains("readout_size"), "{message}");
    }
}

#[test]
fn batches_by_tokens_have_a_size_for_each_shape() {
    let setting = Setting::new();
    let options = TrainOptions { batch_tokens: Some(64), ..setting.options.clone() };
    let by_sentences = TrainOptions { batch: 64, ..setting.options.clone() };
    // Of lengths up to 8 at least 8 rows: 60 pairs are a few steps an epoch, and more than one.
    let out = setting.out("by tokens");
    let outcome = train(
        common::gpu(),
        &options,
        epochs(1),
        Destination { folder: &out, overwrite: false },
        &|| false,
        &mut |_| {},
    )
    .unwrap();
    let other = train(
        common::gpu(),
        &by_sentences,
        epochs(1),
        Destination { folder: &setting.out("by pairs"), overwrite: false },
        &|| false,
        &mut |_| {},
    );
    let other = other.unwrap();
    assert_eq!(outcome.progress.tokens, other.progress.tokens, "every pair once");
    assert!((3..=8).contains(&outcome.progress.step) && outcome.progress.step > other.progress.step);
}

/// The models that a folder keeps, by step.
fn kept(out: &Path) -> Vec<u64> {
    let entries = fs::read_dir(out.join(BEST)).map_or(Vec::new(), |entries| entries.collect());
    let mut steps: Vec<u64> =
        entries.into_iter().map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).collect();
    steps.sort_unstable();
    steps
}

#[test]
fn the_best_models_are_kept_and_averaged() {
    let setting = Setting::new();
    let out = setting.out("kept");
    let options = TrainOptions {
        metric: Metric::Chrf,
        keep_best: 3,
        validate_every: Some(2),
        learning_rate: 2e-2,
        ..setting.options.clone()
    };
    let (mut found, mut average, mut until_now) = (Vec::<Kept>::new(), None, Vec::new());
    let outcome = train(
        common::gpu(),
        &options,
        steps(24),
        Destination { folder: &out, overwrite: false },
        &|| false,
        &mut |event| match event {
            Event::Validated { step, found: validated, best, .. } => {
                let place = Metric::Chrf.place(&validated);
                assert_eq!(place.0, validated.scores.unwrap().chrf);
                assert_eq!(best, found.iter().all(|other| Metric::Chrf.is_better(place, other.place)), "step {step}");
                found.push(Kept { step, place });
                // Stable: of equals the earlier one stays in front.
                found.sort_by(|a, b| match [(a, b), (b, a)].map(|(a, b)| Metric::Chrf.is_better(a.place, b.place)) {
                    [true, _] => Ordering::Less,
                    [_, true] => Ordering::Greater,
                    _ => Ordering::Equal,
                });
                until_now = found.iter().take(3).map(|kept| kept.step).collect();
                let mut expected: Vec<_> = until_now.clone();
                expected.sort_unstable();
                assert_eq!(kept(&out), expected, "after step {step}");
            }
            Event::Averaged { models, found, best } => average = Some((models, Metric::Chrf.place(&found), best)),
            _ => {}
        },
    )
    .unwrap();
    let (models, place, better) = average.expect("an average of three");
    assert_eq!((models, outcome.progress.kept.as_slice()), (3, &found[..3]));
    assert_eq!(better, Metric::Chrf.is_better(place, found[0].place));
    assert_eq!(outcome.progress.best, Some(if better { place } else { found[0].place }));
    assert!(found[0].place != found[3].place, "nothing to choose from: {found:?}");
    // Each is a model, and the run's own is the best of them or their mean.
    let folders = until_now.iter().map(|step| out.join(BEST).join(step.to_string()));
    let folders: Vec<_> = folders.inspect(|folder| drop(Model::load(common::gpu(), folder).unwrap())).collect();
    let tensors: Vec<_> = folders.iter().map(|folder| bits(&folder.join("model.safetensors"))).collect();
    for (name, (_, model)) in bits(&out.join("model.safetensors")) {
        for (at, value) in model.iter().enumerate() {
            let values = tensors.iter().map(|tensors| f64::from(f32::from_bits(tensors[&name].1[at])));
            let mean = (values.sum::<f64>() / 3.0) as f32;
            assert_eq!(*value, if better { mean.to_bits() } else { tensors[0][&name].1[at] }, "{name}");
        }
    }
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches("average_of").count(), 1, "{metrics}");

    // What is no kept model of the run goes, also what killed sessions had begun to write; what is not the run's stays, and another
    // run takes none of them over.
    let begun = [&out, &out.join(BEST), &out.join(BEST).join("999")].map(|folder| folder.join(".writing-4"));
    for folder in &begun {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("made"), "half").unwrap();
    }
    let file = out.join(".writing-5");
    fs::write(&file, "half").unwrap();
    run(&options, 25, &out).unwrap();
    assert!(kept(&out).iter().all(|step| *step < 26));
    let left: Vec<_> = begun.iter().chain([&file]).filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    let photographs = out.join(BEST).join("1998");
    fs::create_dir(&photographs).unwrap();
    fs::write(photographs.join("cat.png"), "meow").unwrap();
    let other = TrainOptions { keep_best: 0, ..options };
    train(common::gpu(), &other, steps(1), Destination { folder: &out, overwrite: true }, &|| false, &mut |_| {})
        .unwrap();
    assert_eq!(kept(&out), [1998]);
    assert_eq!(fs::read_to_string(photographs.join("cat.png")).unwrap(), "meow");
}

#[test]
fn metrics_know_which_way_is_up() {
    let order = [((3.0, 5.0), (2.0, 1.0)), ((2.0, 1.0), (2.0, 5.0))];
    for metric in Metric::ALL {
        assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
        assert!(!metric.is_better((2.0, 1.0), (2.0, 1.0)), "{metric}: equals");
        // Of equals the one with fewer token errors.
        let [(more, less), (few, many)] = order;
        assert!(metric.is_better(few, many) && !metric.is_better(many, few), "{metric}");
        let less_is_better = matches!(metric, Metric::Per | Metric::Ser | Metric::CrossEntropy);
        assert_eq!(metric.is_better(more, less), !less_is_better, "{metric}");
        assert_eq!(metric.is_better(less, more), less_is_better, "{metric}");
    }
    let error = "perplexed".parse::<Metric>().unwrap_err().to_string();
    assert!(error.contains("perplexed") && error.contains("exact, per, ser"), "{error}");
}

#[test]
fn the_loss_is_that_of_the_right_answers_and_ends_a_run() {
    let setting = Setting::new();
    let options = TrainOptions { metric: Metric::CrossEntropy, validate_every: Some(5), ..setting.options.clone() };
    let (mut losses, mut best) = (Vec::new(), Vec::new());
    let out = setting.out("loss");
    // So large a rate that the loss falls and rises again; its best model is kept.
    let options = TrainOptions { learning_rate: 5e-2, label_smoothing: 0.0, ..options };
    let budget = Budget { steps: Some(500), patience: Some(4), ..Budget::default() };
    let outcome = train(
        common::gpu(),
        &options,
        budget,
        Destination { folder: &out, overwrite: false },
        &|| false,
        &mut |event| {
            if let Event::Validated { found, best: is_best, .. } = event {
                losses.push(found.cross_entropy);
                best.push(is_best);
            }
        },
    )
    .unwrap();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(losses[0] > least, "{losses:?}");
    assert_eq!(outcome.progress.best.unwrap().0, least);
    assert!(outcome.progress.unimproved == 4 || outcome.progress.step == 500, "{losses:?}");
    let mut so_far = f64::INFINITY;
    for (loss, best) in losses.iter().zip(&best) {
        assert!(*best == (*loss < so_far) || *loss == so_far, "{losses:?}");
        so_far = so_far.min(*loss);
    }
    // The folder holds that model, and forcing the right answers upon it gives that loss.
    let model = Model::load(common::gpu(), &out).unwrap();
    let Data::Files { valid, .. } = &options.data else { unreachable!() };
    let examples = encode_pairs("valid", &read_tsv(valid).unwrap(), &model.source, &model.target, 100).unwrap();
    let mut all = Likelihood::default();
    Scorer::new(&model).score(&examples).unwrap().into_iter().for_each(|one| all += one);
    let loss = -all.log_probability / all.tokens as f64;
    assert!((loss / least - 1.0).abs() < 1e-6, "{loss}, {losses:?}");
}
