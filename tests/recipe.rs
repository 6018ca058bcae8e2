//! What a recipe for training is made of: batches that are added up, averages of parameters.

mod common;

use common::training::{Setting, bits, run, steps, tiny};
use softalign::{
    Gpu, GpuOptions,
    gpu::Counters,
    graph::Parameters,
    reference::adam::average,
    text::Batch,
    train::{Optimizer, Part, TrainOptions, Trainer, train},
};

fn values(gpu: &Gpu, parameters: &Parameters, name: &str) -> Vec<f64> {
    gpu.read::<f32>(&parameters.tensor(name).unwrap()).unwrap().into_iter().map(f64::from).collect()
}

/// Two batches of one shape as one.
fn joined(a: &Batch, b: &Batch) -> Batch {
    assert_eq!((a.source_steps, a.target_steps), (b.source_steps, b.target_steps));
    Batch {
        rows: a.rows + b.rows,
        source: [&*a.source, &*b.source].concat(),
        lengths: [&*a.lengths, &*b.lengths].concat(),
        target_in: [&*a.target_in, &*b.target_in].concat(),
        target_out: [&*a.target_out, &*b.target_out].concat(),
        indices: [&*a.indices, &*b.indices].concat(),
        target_tokens: a.target_tokens + b.target_tokens,
        ..a.clone()
    }
}

/// The tiny model's trainer, with another optimiser.
fn trainer(gpu: &Gpu, setting: &Setting, optimizer: Optimizer) -> Trainer {
    let model = tiny(gpu, setting, 8).model;
    Trainer::new(gpu, &model.network, &model.parameters, optimizer, 0.1).unwrap()
}

const CLIPPED: Optimizer = Optimizer {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    clip_norm: Some(1.0),
    weight_decay: 0.01,
    average_decay: None,
    accumulate: false,
};

#[test]
fn batches_added_up_are_one_large_batch() {
    let (gpu, setting) = (common::gpu(), Setting::new());
    let buckets = tiny(gpu, &setting, 8).buckets;
    // Two full batches of one shape, one of which loses half of its rows: a mean of means would be another.
    let plans = buckets.in_order();
    let same = |pair: &&[softalign::text::BatchPlan]| {
        let shape = |at: usize| (pair[at].source_steps(), pair[at].target_steps());
        shape(0) == shape(1)
    };
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
            let part = Part { index, count: 2, target_tokens: large.target_tokens };
            parts.part(batch, part, step, 1, 1e-3).unwrap();
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
    let shape = [batch.rows, batch.source_steps, batch.target_steps];
    let mut plain = trainer(gpu, &setting, CLIPPED);
    let mut trainer = trainer(gpu, &setting, Optimizer { accumulate: true, average_decay: Some(0.99), ..CLIPPED });
    let dispatches = [&mut plain, &mut trainer].map(|trainer| {
        trainer.prepare(shape).unwrap();
        trainer.program(shape).unwrap().recording().dispatches() as u64
    });
    assert_eq!(dispatches[0], dispatches[1], "adding up and averaging ride on passes that are there");
    let mut part = |step, index| {
        trainer.part(&batch, Part { index, count: 3, target_tokens: 3 * batch.target_tokens }, step, 1, 1e-3).unwrap();
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

/// Told to stop in the middle of a step, at its end, and at the end of an epoch whose last step has fewer batches.
#[test]
fn a_step_that_was_stopped_between_its_batches_is_made_anew() {
    let setting = Setting::new();
    let options =
        TrainOptions { accumulate: 3, ema: Some(0.9), validate_every: Some(2), batch: 8, ..setting.options.clone() };
    let whole = setting.out("whole");
    let expected = run(&options, 6, &whole).unwrap().progress;
    assert!(expected.step == 6 && expected.epoch > 0, "{expected:?}");
    for stops in [vec![1], vec![2], vec![3], vec![4, 2], vec![9, 4], vec![11]] {
        let out = setting.out(&format!("stopped {stops:?}"));
        for after in &stops {
            let asked = std::cell::Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() == *after
            };
            let outcome = train(common::gpu(), &options, steps(6), &out, false, &stop, &mut |_| {}).unwrap();
            assert!(outcome.interrupted && outcome.progress.step <= *after, "{stops:?}: {outcome:?}");
        }
        let found = run(&options, 6, &out).unwrap().progress;
        assert_eq!((found.step, found.epoch, found.batch), (expected.step, expected.epoch, expected.batch));
        assert_eq!((found.tokens, found.best), (expected.tokens, expected.best), "{stops:?}");
        assert!(common::training::state(&out) == common::training::state(&whole), "{stops:?}: other bits");
    }
}
