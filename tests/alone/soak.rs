//! Training, scoring and generation over batches of ever other shapes, for `SOFTALIGN_SOAK` minutes: memory and speed stay what
//! they are. `cargo test --release --test alone soak -- --nocapture` shows the figures.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::common::{
    self,
    training::{Setting, Tiny, tiny},
};
use softalign::{
    Gpu,
    generate::{Generator, Scorer, SearchOptions},
    gpu::AdapterClass,
    model::BatchShape,
    text::{Batch, EOS, Specials},
};

/// Minutes from which on the speed is measured well enough to be held to a tenth.
const LONG: f64 = 10.0;
/// Rounds that the soak is made of at least: one to warm up, and two halves.
const LEAST: usize = 5;

/// What a round took, and what the process has after it.
struct Round {
    seconds: f64,
    resident: f64,
    allocated: f64,
}

/// Shapes that come back all the time, and more others than a trainer keeps Programs of.
fn shapes() -> (Vec<BatchShape>, Vec<BatchShape>) {
    let rows = [4, 9, 16];
    let all = rows.into_iter().flat_map(|rows| {
        [2, 4, 6, 8]
            .into_iter()
            .flat_map(move |source| [2, 4, 6, 8].map(|target| BatchShape::new(rows, source, target)))
    });
    all.enumerate().fold((Vec::new(), Vec::new()), |(mut often, mut seldom), (index, shape)| {
        if index % 12 == 11 {
            often.push(shape)
        } else {
            seldom.push(shape)
        }
        (often, seldom)
    })
}

/// A batch of rows of all lengths.
fn batch(shape: BatchShape, vocabulary: [usize; 2]) -> Batch {
    let words = |row: usize, steps: usize, size: usize| -> Vec<u32> {
        let length = steps - row % steps.min(3);
        (1..length).map(|at| 4 + ((row * 7 + at - 1) % (size - 4)) as u32).collect()
    };
    let mut batch = Batch::filler(shape, Specials::FIRST);
    for row in 0..shape.rows {
        batch.put_source(row, &[&words(row, shape.source, vocabulary[0])[..], &[EOS]].concat());
        batch.put_target(row, &words(row, shape.target, vocabulary[1]));
    }
    batch
}

/// Bytes of this process that lie in memory.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<f64>().unwrap() * 1024.0
}

/// Seconds of work: of this process, where its own threads do the device's work and others may slow them down.
fn clock(gpu: &Gpu, start: Instant) -> f64 {
    if gpu.class() != AdapterClass::Cpu {
        return start.elapsed().as_secs_f64();
    }
    let status = fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the command's name, which may hold spaces.
    let fields: Vec<_> = status.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12].map(|at| fields[at].parse::<f64>().unwrap()).iter().sum();
    ticks / 100.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn memory_and_speed_stay_what_they_are() {
    let _process = crate::alone();
    let minutes: f64 =
        std::env::var("SOFTALIGN_SOAK").map_or(0.0, |minutes| minutes.parse().expect("SOFTALIGN_SOAK is no number"));
    let gpu = common::gpu();
    let setting = Setting::new();
    let Tiny { model, buckets } = &tiny(gpu, &setting, 16);
    let mut trainer = tiny(gpu, &setting, 16).trainer();
    let (mut generator, mut scorer) = (Generator::new(model), Scorer::new(model));
    let sources: Vec<_> = buckets.examples().iter().take(9).map(|example| example.source.clone()).collect();
    let beam = SearchOptions { beam: 3, ..SearchOptions::default() };
    let (often, seldom) = shapes();
    let vocabulary = [model.source.size(), model.target.size()];

    let mut rounds: Vec<Round> = Vec::new();
    let (start, mut step) = (Instant::now(), 0);
    while rounds.len() < LEAST || start.elapsed() < Duration::from_secs_f64(60.0 * minutes) {
        let before = clock(gpu, start);
        for shape in &seldom {
            for shape in often.iter().chain([shape]) {
                let batch = batch(*shape, vocabulary);
                for _ in 0..3 {
                    step += 1;
                    trainer.step(&batch, step, 1, 1e-3).unwrap();
                }
            }
        }
        for options in [&SearchOptions::default(), &beam] {
            assert_eq!(generator.generate(&sources, options).unwrap().len(), sources.len());
        }
        assert!(scorer.score(buckets.examples()).unwrap().iter().all(|found| found.log_probability < 0.0));
        gpu.wait(None).unwrap();
        rounds.push(Round {
            seconds: clock(gpu, start) - before,
            resident: resident(),
            allocated: gpu.allocated().unwrap_or_default() as f64,
        });
    }
    assert!(gpu.read::<f32>(&trainer.loss).unwrap()[0].is_finite());

    // What the first fifth makes stays; then one half is like the other.
    let steady = &rounds[rounds.len().div_ceil(5)..];
    let (first, second) = steady.split_at(steady.len() / 2);
    let figures = [
        ("resident bytes", (|round| round.resident) as fn(&Round) -> f64, 0.01),
        ("bytes of the device's allocations", |round| round.allocated, 0.01),
        ("seconds for a round", |round| round.seconds, if minutes < LONG { 0.5 } else { 0.1 }),
    ];
    for (name, of, tolerance) in figures {
        let [first, second] = [first, second].map(|half| median(half.iter().map(of)));
        eprintln!(
            "{name}: {first} in the first half, {second} in the second, of {} rounds, {step} steps",
            rounds.len()
        );
        assert!((second - first).abs() <= tolerance * first, "{name}: {first} became {second}");
    }
}
