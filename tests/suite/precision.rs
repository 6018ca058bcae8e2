//! Training in f16: as good as in f32 from the same seed, half the memory for activations, the same bits after a stop, and a loss
//! scale that a user can see.

use std::{fs, path::Path};

use crate::common::{
    self,
    training::{Setting, lines, refusal, run, state, stopped, tiny},
};
use softalign::{
    gpu::Dtype,
    model::{ARCHITECTURES, Answers, BatchShape, ModelOptions, Regularisation},
    train::{
        Data, Destination, History, Objective, Optimizer, Precision, Schedule, TrainOptions, Trainer, TrainingGraph,
    },
};

/// Steps after which numbers that were not seen come out right.
const STEPS: u64 = 300;

/// Whether there is anything to test.
fn has_f16() -> bool {
    common::gpu().tiles().f16
}

fn in_f16(options: &TrainOptions) -> TrainOptions {
    TrainOptions { precision: Precision::F16, ..options.clone() }
}

#[test]
fn an_adapter_without_f16_refuses_before_anything_is_written() {
    let setting = Setting::new();
    let out = setting.out("run");
    let (options, budget) = (in_f16(&setting.options), common::training::steps(1));
    let result = softalign::train::train(
        common::portable(),
        &options,
        budget,
        Destination { folder: &out, overwrite: false },
        &|| false,
        &mut |_| {},
    );
    let message = refusal(result);
    assert!(message.contains("`precision`") && message.contains("f32") && !out.exists(), "{message}");
}

/// What a run comes to on numbers that it has not seen: loss and share of right answers.
fn quality(options: &TrainOptions, out: &Path) -> [f64; 2] {
    run(options, STEPS, out).unwrap();
    let history = History::read(out).unwrap();
    ["valid/cross_entropy", "valid/exact_match"].map(|tag| history.last(tag).unwrap())
}

#[test]
fn f16_learns_numbers_as_well_as_f32() {
    if !has_f16() {
        return;
    }
    let setting = Setting::new();
    let (train, valid) = (setting.folder.path().join("most.tsv"), setting.folder.path().join("others.tsv"));
    fs::write(&train, lines((0..1000).filter(|n| n % 7 != 3))).unwrap();
    fs::write(&valid, lines((0..1000).filter(|n| n % 7 == 3))).unwrap();
    let options = TrainOptions {
        data: Data::Files { train, valid },
        batch: 32,
        embedding: 16,
        hidden: 48,
        learning_rate: 1e-2,
        dropout: 0.0,
        label_smoothing: 0.0,
        schedule: Schedule { warmup: 20, ..Schedule::default() },
        validate_every: Some(STEPS),
        ..setting.options.clone()
    };
    let single = quality(&options, &setting.out("f32"));
    let half = quality(&in_f16(&options), &setting.out("f16"));
    println!("loss and exact matches: {single:?} in f32, {half:?} in f16");
    assert!(single[1] >= 95.0 && half[1] >= 95.0, "{single:?} in f32, {half:?} in f16");
    assert!(half[0] < 1.5 * single[0] + 0.02, "{single:?} in f32, {half:?} in f16");
}

/// With everything that a run can ask for, where stopped: before the scale has settled, and after.
#[test]
fn a_stopped_run_in_f16_ends_with_the_same_bits_and_the_same_loss_scale() {
    if !has_f16() {
        return;
    }
    let setting = Setting::new();
    let options = TrainOptions {
        accumulate: 2,
        ema: Some(0.9),
        variational: true,
        dropout_state: 0.1,
        dropout_words: 0.1,
        coverage_weight: 0.1,
        tie_embeddings: true,
        layers: 2,
        ..in_f16(&setting.options)
    };
    let whole = setting.out("whole");
    run(&options, 8, &whole).unwrap();
    let expected = state(&whole);
    assert!(expected[1]["loss_scale"].1[0] >= 1.0_f32.to_bits(), "{:?}", expected[1]["loss_scale"]);
    for after in [1, 5, 9] {
        let out = setting.out(&format!("stopped after {after}"));
        assert!(stopped(&options, 8, &out, after).interrupted);
        run(&options, 8, &out).unwrap();
        assert!(state(&out) == expected, "stopped after batch {after}: other bits");
    }
    // A checkpoint in f32 knows of no scale.
    let single = setting.out("f32");
    run(&setting.options, 2, &single).unwrap();
    assert!(!state(&single)[1].contains_key("loss_scale"));
}

/// A loss scale far too large is halved until the gradients fit, and no step until then changes a parameter or counts as a fault.
#[test]
fn steps_that_overflow_halve_the_scale_until_they_do_not() {
    if !has_f16() {
        return;
    }
    let (gpu, setting) = (common::gpu(), Setting::new());
    let tiny = tiny(gpu, &setting, 16);
    let optimizer = Optimizer { clip_norm: Some(1.0), precision: Dtype::F16, ..Optimizer::default() };
    let (network, parameters) = (tiny.model.network.clone(), &tiny.model.parameters);
    let mut trainer = Trainer::new(gpu, network, parameters, optimizer, Regularisation::default()).unwrap();
    let scaling = trainer.state.scaling.clone().unwrap();
    gpu.write(&scaling, &[16_777_216.0_f32, 0.0]).unwrap();
    let all = || parameters.blocks().iter().map(|block| common::bits(gpu, block)).collect::<Vec<_>>();
    let before = all();
    let mut scales = Vec::new();
    for step in 1..=20 {
        trainer.step(&tiny.batch(), step, 1, 1e-3).unwrap();
        let report = trainer.state.read_report(gpu).unwrap();
        assert_eq!(report.skipped, 0, "no fault");
        assert_eq!(report.updated == 1.0, all() != before, "step {step}: only what is finite changes parameters");
        scales.push(report.loss_scale);
        if report.updated == 1.0 {
            break;
        }
    }
    let halved = scales.windows(2).all(|pair| pair[1] == 0.5 * pair[0]);
    assert!(halved && scales.len() > 1 && scales.len() < 20, "{scales:?}");
}

/// As many dispatches, and activations of half the size.
#[test]
fn a_step_in_f16_takes_as_many_dispatches_and_half_the_memory() {
    if !has_f16() {
        return;
    }
    let (gpu, setting) = (common::gpu(), Setting::new());
    let [single, half] = [Dtype::F32, Dtype::F16].map(|precision| {
        let tiny = tiny(gpu, &setting, 32);
        let optimizer = Optimizer { clip_norm: Some(1.0), precision, ..Optimizer::default() };
        let (network, parameters) = (tiny.model.network.clone(), &tiny.model.parameters);
        let mut trainer = Trainer::new(gpu, network, parameters, optimizer, Regularisation::default()).unwrap();
        let program = trainer.prepare(tiny.batch().shape).unwrap();
        (program.recording().dispatches(), program.memory().unshared, program.recording().cost())
    });
    assert_eq!(half.0, single.0);
    let share = |half: f64, single: f64| half / single;
    assert!(share(half.1 as f64, single.1 as f64) < 0.75, "{} bytes for {}", half.1, single.1);
    assert!(half.2.read < single.2.read && half.2.written < single.2.written);
    assert_eq!(half.2.operations, single.2.operations);
}

/// The scale stands in the metrics, and so in the curves and the report.
#[test]
fn the_loss_scale_is_among_the_metrics() {
    if !has_f16() {
        return;
    }
    let setting = Setting::new();
    let out = setting.out("run");
    run(&in_f16(&setting.options), 20, &out).unwrap();
    let history = History::read(&out).unwrap();
    let scales = &history.series["train/loss_scale"];
    assert!(scales.len() == 2 && scales.iter().all(|(_, scale)| *scale >= 1.0 && scale.log2().fract() == 0.0));
    assert!(fs::read_to_string(out.join("curves.svg")).unwrap().contains("Loss scale"));
}

/// A step of every model that is trained here has a graph in f16, as far as shapes and types tell.
#[test]
fn every_architecture_has_a_step_in_f16() {
    let options = ModelOptions { embedding: 32, hidden: 32, layers: 2, ..ModelOptions::default() };
    for (kind, learns) in ARCHITECTURES.iter().flat_map(|kind| kind.learns().map(move |learns| (kind, learns))) {
        let network = kind.make_for(learns, &options, [40; 2]).unwrap();
        let target = match network.answers() {
            Answers::Classes => 1,
            Answers::Spans => 2,
            // Longer than a chunk, where there are some.
            _ => 64,
        };
        let shape = BatchShape { rows: 2, source: 64, target };
        for precision in [Dtype::F32, Dtype::F16] {
            let objective = Objective { precision, ..Objective::default() };
            let made = TrainingGraph::new(network.as_ref(), shape, &objective);
            assert!(made.is_ok(), "{}, {learns}, {precision}: {}", kind.name, made.unwrap_err());
        }
    }
}
