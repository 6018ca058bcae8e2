//! Training by several ranks is the training of one process: its losses to rounding, its files, and the same bits every time.

use std::{
    cell::Cell,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::common::{
    self,
    ranks::{Thread, together},
    training::{Setting, bits, epochs, run, state, steps, tiny},
};
use softalign::{
    Error, Gpu, GpuOptions, Result,
    batch::Batch,
    bench::{ModelSize, TrainingMemory},
    generate::{Generator, Scoring, SearchOptions, evaluate_in_full},
    model::{
        Model, Network, Regularisation,
        bahdanau::{self, Bahdanau},
        bert::{self, Bert},
        first_values,
        reformer::{self, AttentionKind, Reformer},
        transformer::{self, Transformer},
        transformer_xl::{self, TransformerXl},
    },
    ranks::{Ranks, part},
    text::{BatchSize, Buckets, Example, read_tsv},
    train::{
        Budget, Data, Destination, Optimizer, Outcome, Part, RankOptions, Rate, Shard, TrainOptions, Trainer,
        train_among,
    },
};

/// Ranks of which each has the whole state of the optimiser.
fn whole(ranks: Arc<dyn Ranks>) -> RankOptions {
    RankOptions { ranks, shard: false }
}

/// Ranks of which each has a part of it.
fn sharded(ranks: Arc<dyn Ranks>) -> RankOptions {
    RankOptions { ranks, shard: true }
}

/// Trains as one of several ranks.
fn train(ranks: RankOptions, options: &TrainOptions, budget: Budget, out: &Path) -> Result<Outcome> {
    let destination = Destination { folder: out, overwrite: false };
    train_among(ranks, common::gpu(), (options, budget), destination, &|| false, &mut |_| {})
}

/// The run of so many ranks.
fn train_by(size: usize, options: &TrainOptions, budget: Budget, out: &Path) -> Outcome {
    train_as(whole, size, options, budget, out)
}

fn train_as(
    of_ranks: fn(Arc<dyn Ranks>) -> RankOptions,
    size: usize,
    options: &TrainOptions,
    budget: Budget,
    out: &Path,
) -> Outcome {
    let mut outcomes = together(size, |ranks| train(of_ranks(ranks), options, budget, out).unwrap());
    let first = outcomes.swap_remove(0);
    assert!(outcomes.iter().all(|outcome| *outcome == first), "{size} ranks came to different ends");
    first
}

/// Losses and norms by step, and cross-entropies of validations but those at the end of a session.
fn curve(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let values =
        lines.filter(|line| line["loss"].is_number() || line["step"].as_u64().unwrap() % 7 == 0).flat_map(|line| {
            [&line["loss"], &line["grad_norm"], &line["valid"]["cross_entropy"]].map(serde_json::Value::as_f64)
        });
    values.flatten().collect()
}

/// Sums of f32 in another order, over tens of steps.
const ROUNDING: f64 = 2e-4;

fn assert_same_curve(what: &str, found: &Path, expected: &Path) {
    let (found, expected) = (curve(found), curve(expected));
    assert!(found.len() == expected.len() && found.len() > 4, "{what}: {found:?} {expected:?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= ROUNDING * expected.abs(), "{what}: {found}, expected {expected}");
    }
}

/// A model of plain text.
fn language_model(setting: &Setting) -> TrainOptions {
    let (train, valid) = (setting.out("train.txt"), setting.out("valid.txt"));
    fs::write(&train, common::training::lines(0..200)).unwrap();
    fs::write(&valid, common::training::lines(200..220)).unwrap();
    let data = Data::Text { train, valid: Some(valid) };
    TrainOptions { max_length: 16, batch: 8, hidden: 16, validate_every: Some(7), ..TrainOptions::new(data) }
}

fn options(setting: &Setting) -> TrainOptions {
    TrainOptions { hidden: 48, ema: Some(0.9), validate_every: Some(7), ..setting.options.clone() }
}

#[test]
fn the_losses_are_those_of_one_process() {
    let setting = Setting::new();
    for (name, options, sizes) in [
        ("plain", options(&setting), &[1, 2, 4][..]),
        ("accumulated", TrainOptions { accumulate: 3, batch_tokens: Some(60), ..options(&setting) }, &[2]),
        ("gpt2", TrainOptions { dropout: 0.2, ..language_model(&setting) }, &[3]),
    ] {
        let alone = setting.out(&format!("{name} alone"));
        let expected = run(&options, 20, &alone).unwrap();
        for size in sizes {
            let out = setting.out(&format!("{name} {size}"));
            let outcome = train_by(*size, &options, steps(20), &out);
            assert_same_curve(&format!("{name}, {size} ranks"), &out, &alone);
            let (found, expected) = (&outcome.progress, &expected.progress);
            assert_eq!((found.step, found.epoch, found.batch), (expected.step, expected.epoch, expected.batch));
            assert_eq!((found.tokens, found.validated), (expected.tokens, expected.validated));
        }
    }
}

/// Small models with dropout wherever they can have it, and the source of the longest example.
fn with_dropout() -> Vec<(Network, Vec<u32>)> {
    let (pair, text) = (vec![5, 6, 7, 8, 2], vec![]);
    let transformer = transformer::Config {
        hidden: 16,
        heads: 2,
        encoder_feed_forward: 24,
        decoder_feed_forward: 24,
        encoder_layers: 1,
        decoder_layers: 1,
        dropout: 0.2,
        attention_dropout: 0.3,
        activation_dropout: 0.1,
        ..transformer::Config::new(12, 13)
    };
    let longformer = bert::Config {
        architecture: "longformer".into(),
        head: bert::Head::Masked,
        hidden: 16,
        heads: 2,
        feed_forward: 24,
        layers: 1,
        windows: vec![2],
        dropout: 0.2,
        attention_dropout: 0.3,
        ..bert::Config::new(13)
    };
    let reformer = reformer::Config {
        hidden: 16,
        heads: 2,
        head_size: 8,
        feed_forward: 24,
        attention: vec![AttentionKind::Local, AttentionKind::Lsh],
        local_chunk: 2,
        lsh_chunk: 2,
        buckets: vec![4],
        dropout: 0.2,
        local_dropout: 0.3,
        lsh_dropout: 0.3,
        ..reformer::Config::new(13)
    };
    let relative = transformer_xl::Config {
        hidden: 16,
        heads: 2,
        head_size: 8,
        feed_forward: 24,
        layers: 1,
        dropout: 0.2,
        ..transformer_xl::Config::new(13)
    };
    let bahdanau = bahdanau::Config { embedding: 8, hidden: 20, dropout: 0.2, ..bahdanau::Config::new(12, 13) };
    let transformer: Network = Transformer::new(transformer).unwrap();
    let longformer: Network = Bert::new(longformer).unwrap();
    vec![
        (Bahdanau::new(bahdanau).unwrap(), pair.clone()),
        (transformer, pair.clone()),
        (longformer, pair),
        (Reformer::new(reformer).unwrap(), text.clone()),
        (TransformerXl::new(relative).unwrap(), text),
    ]
}

/// The gradients of the second of two steps that change nothing.
fn gradients(network: &Network, batch: &Batch, ranks: Option<Arc<dyn Ranks>>) -> Vec<f32> {
    let gpu = common::gpu();
    let (parameters, part) = (first_values(gpu, &network.parameters(), 7).unwrap(), Part::of(&[batch]));
    let recurrent = network.name() == "bahdanau";
    let dropout_state = if recurrent { 0.2 } else { 0.0 };
    let drops =
        Regularisation { dropout_state, dropout_words: 0.2, variational: recurrent, ..Regularisation::default() };
    let trainer = Trainer::new(gpu, network.clone(), &parameters, Optimizer::default(), drops).unwrap();
    let (rank, size) = ranks.as_ref().map_or((0, 1), |ranks| (ranks.rank(), ranks.size()));
    let mut trainer = trainer.among(ranks);
    for step in 1..=2 {
        trainer.part(&batch.share(size, rank), part, step, 11, 0.0).unwrap();
    }
    let blocks = trainer.state.gradients.blocks().iter();
    blocks.flat_map(|block| gpu.read::<f32>(block).unwrap()).collect()
}

#[test]
fn dropout_takes_what_it_takes_from_one_process() {
    for (network, source) in with_dropout() {
        let name = network.name();
        let length = |row: u32| 2 + (row * 3 % 4);
        let target = |row: u32| (0..length(row)).map(|step| 4 + (row + step) % 9).collect();
        let source = |row: u32| source.iter().copied().take(length(row) as usize).collect::<Vec<_>>();
        let rows = (0..7).map(|row| Example { cut: true, ..Example::new(source(row), target(row)) });
        let buckets = Buckets::new(rows.collect::<Vec<_>>(), BatchSize::Sentences(7), 1).unwrap();
        let batch = buckets.batch(&buckets.epoch(1, 0)[0]);
        let expected = gradients(&network, &batch, None);
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        // More ranks than rows leave some without any.
        let sizes = if name == "bahdanau" { &[2, 3, 9][..] } else { &[2, 3] };
        for size in sizes.iter().copied() {
            for found in together(size, |ranks| gradients(&network, &batch, Some(ranks))) {
                let errors = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
                let worst = errors.fold(0.0_f32, f32::max) / largest;
                assert!(largest > 0.0 && worst < 2e-6, "{name}, {size} ranks: an error of {worst}");
            }
        }
    }
}

#[test]
fn the_same_ranks_give_the_same_bits_also_across_a_stop() {
    let setting = Setting::new();
    let options = TrainOptions { keep_best: 2, ..options(&setting) };
    let [one, again, parts] = ["whole", "again", "parts"].map(|name| setting.out(name));
    train_by(2, &options, epochs(4), &one);
    train_by(2, &options, epochs(4), &again);
    assert!(state(&one) == state(&again), "other bits in the same run");
    let stopped = together(2, |ranks| {
        let asked = std::cell::Cell::new(0);
        let first = ranks.rank() == 0;
        // One of them is asked to stop, and all do.
        let stop = || first && asked.replace(asked.get() + 1) == 5;
        let destination = Destination { folder: &parts, overwrite: false };
        train_among(whole(ranks), common::gpu(), (&options, epochs(4)), destination, &stop, &mut |_| {}).unwrap()
    });
    assert!(stopped.iter().all(|outcome| outcome.interrupted && outcome.progress.step == 6), "{stopped:?}");
    train_by(2, &options, epochs(4), &parts);
    assert!(state(&one) == state(&parts), "other bits after a stop");
    let models = |out: &Path| bits(&out.join("model.safetensors"));
    assert!(models(&one) == models(&parts));
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let setting = Setting::new();
    let options = options(&setting);
    let (alone, changing) = (setting.out("alone"), setting.out("changing"));
    run(&options, 30, &alone).unwrap();
    train_by(4, &options, steps(12), &changing);
    run(&options, 17, &changing).unwrap();
    train_by(2, &options, steps(30), &changing);
    assert_same_curve("4, 1 and 2 ranks", &changing, &alone);
}

/// Groups with rates and decays of their own, frozen tensors, an average, several batches a step, and a norm to be clipped.
fn with_everything(setting: &Setting) -> TrainOptions {
    TrainOptions {
        weight_decay: 0.05,
        rate: vec!["encoder.*=0.5".parse().unwrap(), Rate::frozen("decoder.embedding.*").unwrap()],
        accumulate: 2,
        clip_norm: 0.3,
        keep_best: 2,
        ..options(setting)
    }
}

#[test]
fn ranks_that_share_the_optimiser_come_to_the_same_bits() {
    let setting = Setting::new();
    for (name, options) in [("plain", options(&setting)), ("with everything", with_everything(&setting))] {
        for size in [2, 3] {
            let [one, shared] = ["whole", "shared"].map(|kind| setting.out(&format!("{name} {kind} {size}")));
            train_by(size, &options, steps(15), &one);
            train_as(sharded, size, &options, steps(15), &shared);
            assert!(state(&one) == state(&shared), "{name}: {size} ranks that share came to other bits");
            assert_eq!(curve(&one), curve(&shared), "{name}, {size} ranks");
        }
    }
}

#[test]
fn a_shared_optimiser_goes_on_with_any_number_of_ranks_and_is_shared_again() {
    let setting = Setting::new();
    let options = with_everything(&setting);
    let [one, parts] = ["one", "parts"].map(|name| setting.out(name));
    train_by(2, &options, steps(16), &one);
    train_as(sharded, 2, &options, steps(5), &parts);
    train_by(2, &options, steps(11), &parts);
    train_as(sharded, 2, &options, steps(16), &parts);
    assert_eq!(curve(&one), curve(&parts));
    let [one, parts] = [one, parts].map(|out| bits(&out.join("checkpoint.safetensors")));
    assert!(one == parts, "other bits where ranks shared for a while");
    // Alone, and by more of them.
    let options = self::options(&setting);
    let (alone, changing) = (setting.out("alone"), setting.out("changing"));
    run(&options, 30, &alone).unwrap();
    train_as(sharded, 2, &options, steps(9), &changing);
    run(&options, 16, &changing).unwrap();
    train_as(sharded, 4, &options, steps(23), &changing);
    train_by(3, &options, steps(30), &changing);
    assert_same_curve("2, 1, 4 and 3 ranks", &changing, &alone);
}

/// Devices of their own, for their counters.
#[test]
fn the_memory_of_a_rank_is_as_predicted() {
    let open = || Gpu::open(&GpuOptions::default()).unwrap();
    let size = ModelSize { vocabularies: [90, 110], embedding: 24, hidden: 40, batch: 6, steps: 5, ..ModelSize::S };
    let alone = TrainingMemory::of(&open(), &size, None).unwrap();
    let moments = |memory: &TrainingMemory| -> u64 {
        let of_moments = memory.classes.iter().filter(|(name, _)| name.contains("moments"));
        of_moments.map(|(_, bytes)| bytes).sum()
    };
    for ranks in [2, 4] {
        let predicted = TrainingMemory::of(&open(), &size, Some(ranks)).unwrap();
        assert_eq!(predicted.total(), predicted.allocated, "{predicted:?}");
        let share = moments(&predicted) as f64 / moments(&alone) as f64;
        assert!((share * ranks as f64 - 1.0).abs() < 0.05, "{share} of the moments are those of one of {ranks}");
        let allocated = together(ranks, |own| {
            let gpu = open();
            let before = gpu.counters().bytes;
            let shard = Shard { rank: own.rank(), size: ranks };
            let mut trainer = size.sharded_trainer(&gpu, shard).unwrap().among(Some(own));
            for step in 1..=3 {
                trainer.step(&size.batch(), step, 1, 1e-3).unwrap();
            }
            gpu.counters().bytes - before
        });
        assert_eq!(allocated[0], predicted.total(), "{predicted:?}");
        assert!(allocated.iter().all(|bytes| *bytes <= predicted.total()), "{allocated:?}, {predicted:?}");
    }
}

#[test]
fn gradients_of_several_batches_go_around_once() {
    let setting = Setting::new();
    let found = together(2, |ranks| {
        let tiny = tiny(common::gpu(), &setting, 8);
        let (model, batch) = (&tiny.model, tiny.batch());
        let optimizer = Optimizer { accumulate: true, ..Optimizer::default() };
        let regularisation = Regularisation::default();
        let trainer =
            Trainer::new(common::gpu(), model.network.clone(), &model.parameters, optimizer, regularisation).unwrap();
        let mut trainer = trainer.among(Some(ranks));
        let all = Part::of(&[&batch, &batch, &batch]);
        for (step, index) in (1..=2).flat_map(|step| (0..3).map(move |index| (step, index))) {
            trainer.part(&batch, Part { index, ..all }, step, 1, 1e-3).unwrap();
        }
        let traffic = trainer.traffic().unwrap();
        // Of two ranks each sends half of its gradients, and half of the sums.
        (traffic.steps, traffic.bytes as f64 / (2.0 * 4.0 * model.parameters.elements() as f64))
    });
    for (steps, times) in found {
        assert!(steps == 2 && (0.99..2.0).contains(&times), "{steps} times around, {times} of all bytes");
    }
}

#[test]
fn a_step_that_is_not_finite_for_one_rank_is_skipped_by_all() {
    let size = ModelSize { vocabularies: [9, 11], embedding: 12, hidden: 20, batch: 6, steps: 5, ..ModelSize::S };
    let found = together(2, |ranks| {
        let (gpu, rank) = (common::gpu(), ranks.rank());
        let mut trainer = size.sharded_trainer(gpu, Shard { rank, size: 2 }).unwrap().among(Some(ranks));
        let batch = size.batch();
        trainer.step(&batch, 1, 1, 1e-3).unwrap();
        let values = |trainer: &Trainer| -> Vec<Vec<u32>> {
            let state = &trainer.state;
            let all = [&state.parameters, &state.first, &state.second].map(|tensors| tensors.blocks().iter());
            all.into_iter().flatten().map(|block| common::bits(gpu, block)).collect()
        };
        let before = values(&trainer);
        // Of one rank alone.
        let bias = trainer.state.parameters.tensor("output.bias").unwrap();
        let good: Vec<f32> = gpu.read(&bias).unwrap();
        if rank == 1 {
            gpu.write(&bias, &vec![f32::NAN; good.len()]).unwrap();
        }
        trainer.step(&batch, 2, 1, 1e-3).unwrap();
        let report = trainer.state.read_report(gpu).unwrap();
        gpu.write(&bias, &good).unwrap();
        assert!(values(&trainer) == before, "rank {rank}: a skipped step changed something");
        trainer.step(&batch, 3, 1, 1e-3).unwrap();
        assert!(values(&trainer) != before);
        (report.skipped, report.last_skipped)
    });
    assert_eq!(found, [(1, 2); 2]);
}

#[test]
fn ranks_at_odds_refuse_to_begin() {
    let setting = Setting::new();
    let own = options(&setting);
    let refusals = |changed: &TrainOptions, budget: Budget, folder: &str| {
        let found = together(3, |ranks| {
            let odd = ranks.rank() == 2;
            let (options, budget) = if odd { (changed, budget) } else { (&own, steps(4)) };
            match train(whole(ranks), options, budget, &setting.out(if odd { folder } else { "run" })) {
                Err(error @ Error::Rank { .. }) => error.to_string(),
                other => panic!("not refused: {other:?}"),
            }
        });
        assert!(found.iter().all(|message| *message == found[0]), "{found:?}");
        found[0].clone()
    };
    let message = refusals(&TrainOptions { batch: 8, ..own.clone() }, steps(4), "run");
    assert!(message.contains("rank 2: `batch` is 8, and 16 for rank 0"), "{message}");
    let found = together(2, |ranks| {
        let ranks = RankOptions { shard: ranks.rank() == 1, ranks };
        train(ranks, &own, steps(4), &setting.out("run")).unwrap_err().to_string()
    });
    assert!(found.iter().all(|message| message.contains("rank 1: `shard` is true, and false for rank 0")), "{found:?}");
    let message = refusals(&own, steps(5), "run");
    assert!(message.contains("rank 2: `steps` is 5, and 4 for rank 0"), "{message}");
    let Data::Files { train, valid } = &own.data else { unreachable!() };
    let data = Data::Files { train: valid.clone(), valid: train.clone() };
    let message = refusals(&TrainOptions { data, ..own.clone() }, steps(4), "run");
    assert!(message.contains("rank 2: the content of"), "{message}");
    let data = Data::Files { train: setting.out("nowhere"), valid: valid.clone() };
    let message = refusals(&TrainOptions { data, ..own.clone() }, steps(4), "run");
    assert!(message.contains("rank 2: ") && message.contains("nowhere"), "{message}");
    assert!(!setting.out("run").exists(), "a refusal leaves no folder");
    let found = together(2, |ranks| {
        let mut gpu = common::gpu().clone();
        if ranks.rank() == 1 {
            gpu = Gpu::open(&GpuOptions { checked: !gpu.checked(), ..GpuOptions::default() }).unwrap();
        }
        let destination = Destination { folder: &setting.out("run"), overwrite: false };
        let end = train_among(whole(ranks), &gpu, (&own, steps(4)), destination, &|| false, &mut |_| {});
        end.unwrap_err().to_string()
    });
    assert!(found.iter().all(|message| message.contains("rank 1: the checks in its shaders")), "{found:?}");
    assert!(!setting.out("run").exists(), "a refusal leaves no folder");
    train_by(2, &own, steps(2), &setting.out("run"));
    let message = refusals(&own, steps(4), "elsewhere");
    assert!(
        message
            .contains("rank 2: what the run's folder holds, which must be one for all ranks, is no step, and step 2"),
        "{message}"
    );
}

#[test]
fn a_rank_that_ends_ends_the_others() {
    let setting = Setting::new();
    let options = options(&setting);
    let out = setting.out("run");
    let ends = together(3, |ranks| {
        if ranks.rank() == 1 {
            // As far as the first step, and then gone.
            let gone = || panic!("gone");
            let destination = Destination { folder: &out, overwrite: false };
            let end = std::panic::AssertUnwindSafe(|| {
                train_among(whole(ranks), common::gpu(), (&options, steps(10)), destination, &gone, &mut |_| {})
            });
            return std::panic::catch_unwind(end).err().map(|_| "gone".to_owned());
        }
        train(whole(ranks), &options, steps(10), &out).err().map(|error| error.to_string())
    });
    assert_eq!(ends[1].as_deref(), Some("gone"));
    assert!(ends.iter().all(Option::is_some), "{ends:?}");
    assert!(ends[0].as_ref().unwrap().contains("rank 1: has ended"), "{ends:?}");
    // And the run goes on.
    assert!(train_by(3, &options, steps(10), &out).progress.finished);
}

/// Each rank with a device of its own, as between processes; of one it is destroyed.
#[test]
fn a_rank_whose_device_is_lost_says_so_and_ends_the_others() {
    let setting = Setting::new();
    let options = options(&setting);
    for of_ranks in [whole, sharded] {
        let out = setting.out(if of_ranks(Thread::all(1).remove(0)).shard { "shared" } else { "whole" });
        let ends = together(3, |ranks| {
            let (rank, asked) = (ranks.rank(), Cell::new(0));
            let gpu = Gpu::open(&GpuOptions::default()).unwrap();
            let stop = || {
                asked.set(asked.get() + 1);
                if rank == 1 && asked.get() == 9 {
                    gpu.device().destroy();
                }
                false
            };
            let destination = Destination { folder: &out, overwrite: false };
            let end = train_among(of_ranks(ranks), &gpu, (&options, steps(14)), destination, &stop, &mut |_| {});
            (end.unwrap_err(), Instant::now())
        });
        let lost = ends[1].1;
        assert!(matches!(&ends[1].0, Error::DeviceLost { step, .. } if *step >= 9), "{}", ends[1].0);
        for (error, ended) in [&ends[0], &ends[2]] {
            assert!(matches!(error, Error::Rank { .. }), "{error}");
            assert!(ended.saturating_duration_since(lost) < Duration::from_secs(10));
        }
        assert!(ends[0].0.to_string().contains("rank 1: has ended"), "{}", ends[0].0);
        let outcome = train_as(of_ranks, 3, &options, steps(14), &out);
        assert!(outcome.progress.finished && outcome.progress.step == 14);
    }
}

#[test]
fn an_evaluation_has_the_same_figures_on_any_number_of_ranks() {
    let setting = Setting::new();
    let out = setting.out("run");
    run(&setting.options, 6, &out).unwrap();
    let model = Model::load(common::gpu(), &out).unwrap();
    let Data::Files { train, .. } = &setting.options.data else { unreachable!() };
    let pairs = read_tsv(train).unwrap();
    let figures = |ranks: Option<Arc<dyn Ranks>>| {
        let mut generator = Generator::new(&model).among(ranks);
        let (options, scoring) = (SearchOptions::default(), Scoring { resamples: 50, ..Scoring::default() });
        let found = evaluate_in_full(&mut generator, &model, &pairs, &options, &scoring).unwrap();
        (serde_json::to_string(&found).unwrap(), found.texts)
    };
    let alone = figures(None);
    for size in [1, 2, 4] {
        assert!(together(size, |ranks| figures(Some(ranks))).into_iter().all(|found| found == alone), "{size}");
    }
}

#[test]
fn shares_have_every_row_once_and_about_as_many_tokens() {
    let example = |length: usize| Example::new(vec![5; length], vec![6; length / 2]);
    let examples: Vec<_> = (0..19).map(|row| example(2 + row * 7 % 11)).collect();
    let buckets = Buckets::new(examples, BatchSize::Sentences(22), 2).unwrap();
    for batch in buckets.epoch(1, 0).iter().map(|plan| buckets.batch(plan)) {
        for size in 1..=25 {
            let shares: Vec<Batch> = (0..size).map(|rank| batch.share(size, rank)).collect();
            let tokens = |batch: &Batch| batch.lengths.iter().chain(&batch.target_lengths).sum::<u32>();
            let mut rows: Vec<_> = shares.iter().flat_map(|share| share.indices.iter().flatten()).collect();
            rows.sort();
            let mut expected: Vec<_> = batch.indices.iter().flatten().collect();
            expected.sort();
            assert_eq!(rows, expected, "{size}");
            assert_eq!(shares.iter().map(|share| share.target_tokens).sum::<usize>(), batch.target_tokens);
            assert_eq!(shares.iter().map(tokens).sum::<u32>(), tokens(&batch));
            let [least, most] = [shares.iter().map(tokens).min(), shares.iter().map(tokens).max()].map(Option::unwrap);
            // A row more or less, and what dealing to and fro leaves.
            let longest =
                (0..batch.shape.rows).map(|row| batch.lengths[row] + batch.target_lengths[row]).max().unwrap();
            assert!(most - least <= longest, "{size}: {least} to {most}, rows of up to {longest}");
            assert!(shares.iter().all(|share| share.shape == batch.shape.share(size)));
        }
    }
}

#[test]
fn sums_are_made_in_one_order() {
    let values = |rank: usize| (0..1001).map(|i| ((i * 37 + rank * 101) % 997) as f32 / 7.0).collect::<Vec<f32>>();
    for size in [1, 2, 3, 4, 7] {
        let expected: Vec<f32> =
            (0..1001).map(|i| (0..size).map(|rank| f64::from(values(rank)[i])).sum::<f64>() as f32).collect();
        let found = together(size, |ranks| {
            let mut own = values(ranks.rank());
            ranks.all_reduce(&mut own).unwrap();
            own
        });
        assert!(found.iter().all(|found| *found == expected), "{size}");
        let parts: Vec<_> = (0..size).flat_map(|rank| part(1001, size, rank)).collect();
        assert_eq!(parts, (0..1001).collect::<Vec<_>>());
    }
}
