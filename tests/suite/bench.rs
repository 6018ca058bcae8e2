//! What `softalign bench` measures, and what it must not.

use std::{cell::Cell, rc::Rc, time::Duration};

use crate::common;
use softalign::{
    Error,
    bench::{
        Ceilings, Clock, Comparison, Drift, ModelSize, Report, Row, Subject, TrainingMemory, Work, Workload,
        timed_apart, workloads,
    },
    gpu::{Apart, Cost, Dtype, Recorder},
    kernels::ceiling::{Arithmetic, Step},
};

/// Nothing is run for long.
const BUDGET: Duration = Duration::ZERO;

fn ceilings() -> Ceilings {
    serde_json::from_value(serde_json::json!({
        "fma_gflops": 100.0, "reciprocal_gops": 20.0, "exp_gops": 10.0, "tanh_gops": 5.0, "storage_gbps": 10.0,
        "copy_gbps": 8.0, "dispatch_us": 30.0, "submit_us": 100.0, "clock": "wall",
    }))
    .unwrap()
}

/// Work that takes five milliseconds, with a result that is wrong by `error`; and how often it ran.
fn sleeper(error: f64) -> (Workload, Rc<Cell<usize>>) {
    let runs = Rc::new(Cell::new(0));
    let counted = runs.clone();
    let workload = Workload::new("sleep", move |_| {
        let counted = counted.clone();
        let sleep = move || {
            counted.set(counted.get() + 1);
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        };
        let cost = Cost { operations: 2e7, transcendental: 0.0, read: 1e5, written: 0.0 };
        Ok(Subject {
            work: Work::Steps(Box::new(sleep), cost),
            check: Box::new(move |_| Ok(error)),
            tolerance: 1e-5,
            operations: None,
            tokens: Some(50.0),
            scratch: 0,
            label: None,
        })
    });
    (workload, runs)
}

#[test]
fn a_right_output_is_timed() {
    let (workload, runs) = sleeper(1e-6);
    let row = workload.measure(common::gpu(), &ceilings(), BUDGET).unwrap();
    assert!(runs.get() >= 3 && row.failure.is_none(), "{row:?}");
    let ms = row.ms.unwrap();
    assert!((5.0..50.0).contains(&ms), "{row:?}");
    // 2e7 operations at 100 GFLOP/s are 0.2 ms.
    let near = |found: Option<f64>, expected: f64| (found.unwrap() / expected - 1.0).abs() < 1e-9;
    assert!(near(row.ceiling_percent, 100.0 * 0.2 / ms) && near(row.gflops, 20.0 / ms), "{row:?}");
    assert!(near(row.tokens_per_s, 5e4 / ms), "{row:?}");
}

#[test]
fn a_wrong_output_is_reported_and_not_timed() {
    for error in [1e-3, f64::INFINITY, f64::NAN] {
        let (workload, runs) = sleeper(error);
        let row = workload.measure(common::gpu(), &ceilings(), BUDGET).unwrap();
        assert_eq!(runs.get(), 0);
        assert!(row.failure.as_ref().unwrap().contains("wrong"), "{row:?}");
        assert_eq!([row.ms, row.gflops, row.ceiling_percent, row.tokens_per_s], [None; 4]);
    }
    let refused = Workload::new("refused", |_| Err(Error::data("somewhere", "no memory")));
    let row = refused.measure(common::gpu(), &ceilings(), BUDGET).unwrap();
    assert_eq!(row, Row::failed("refused", "somewhere: no memory".to_owned()));
}

#[test]
fn names_are_unique_and_those_of_the_notes() {
    let all = workloads();
    let mut keys: Vec<_> = all.iter().map(Workload::key).collect();
    for key in ["W1/1024x1024x1024", "W1/64x512x1536/nt", "W2/B8_T128_S128_H512/fwdbwd", "W3/512x30000"] {
        assert!(keys.contains(&key), "{key}");
    }
    for key in ["W4/B64_T24_I256_H256/fwd", "W7/B1_h8_T2048_S2048_D64/fwdbwd", "cross_entropy/R1536_C75/fwd"] {
        assert!(keys.contains(&key), "{key}");
    }
    // What f16 can do for an adapter is measured beside its f32.
    for key in keys.iter().filter_map(|key| key.strip_suffix("/f16")) {
        assert!(keys.contains(&key), "{key}");
    }
    let half = |workload: &&Workload| workload.key().ends_with("/f16");
    assert!(all.iter().filter(half).count() > 10);
    assert!(all.iter().all(|workload| workload.runs_on(common::portable()) != half(&workload)));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all.len());
}

#[test]
fn reports_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.json");
    let row = Row { workload: "W1".to_owned(), ms: Some(0.25), clock: Some(Clock::Device), bytes: 7, ..Row::default() };
    let failed = Row { error: Some(0.5), ..Row::failed("other", "wrong".to_owned()) };
    let report = Report {
        adapter: "a".to_owned(),
        ceilings: ceilings(),
        drift: Some([90.0, 99.0, 101.0]),
        rows: vec![row, failed],
    };
    report.write(&path).unwrap();
    assert_eq!(Report::read(&path).unwrap(), report);
    // A report of which only the beginning counts has no rows.
    let bare = serde_json::json!({"adapter": "a", "ceilings": ceilings()});
    std::fs::write(&path, bare.to_string()).unwrap();
    assert_eq!(Report::read(&path).unwrap().rows, []);
    std::fs::write(&path, "{\"adapter\": 3").unwrap();
    let error = Report::read(&path).unwrap_err().to_string();
    assert!(error.contains("figures.json") && error.contains("not a report"), "{error}");
}

#[test]
fn the_ceilings_of_this_adapter_make_sense() {
    let ceilings = Ceilings::measure(common::gpu()).unwrap();
    assert!(ceilings.fma_gflops > 1.0 && ceilings.storage_gbps > 0.5 && ceilings.copy_gbps > 0.5, "{ceilings:?}");
    assert!(ceilings.reciprocal_gops < ceilings.fma_gflops && ceilings.tanh_gops < ceilings.fma_gflops, "{ceilings:?}");
    assert!(ceilings.submit_us > 0.0, "{ceilings:?}");
    let mut drift = Drift::new(common::gpu(), &ceilings).unwrap();
    assert_eq!(drift.range(), None);
    let readings = [drift.read().unwrap(), drift.read().unwrap(), drift.read().unwrap()];
    let [least, median, most] = drift.range().unwrap();
    assert!(least <= median && median <= most && readings.contains(&least) && readings.contains(&most));
    // Other tests run beside this one.
    assert!(most > 0.05 * ceilings.fma_gflops && least < 2.0 * ceilings.fma_gflops, "{least} {most} {ceilings:?}");
}

/// Dispatches are timed between each other only where that gives about what they take apart.
#[test]
fn a_longer_dispatch_takes_longer_however_it_is_timed() {
    let gpu = common::gpu();
    timed_apart(gpu).unwrap();
    let y = gpu.zeros("y", [64], Dtype::F32).unwrap();
    let mut recorder = Recorder::new(gpu, "two");
    for rounds in [1024, 32] {
        Arithmetic { step: Step::MultiplyAdd, rounds, workgroups: 64 }.record(&mut recorder, &y).unwrap();
    }
    let recording = recorder.finish().unwrap();
    for apart in [Apart::Yes, timed_apart(gpu).unwrap()] {
        let times = recording.profile(128, apart).unwrap();
        assert!(times[0].seconds > 2.0 * times[1].seconds, "{apart:?} {times:?}");
    }
}

fn report(rows: impl IntoIterator<Item = (&'static str, f64)>) -> Report {
    let row = |(workload, ms): (&str, f64)| Row {
        workload: workload.to_owned(),
        ms: Some(ms),
        operations_per_byte: Some(ms * 3.0),
        counted_gflops: Some(20.0 / ms),
        ceiling_percent: Some(50.0),
        ..Row::default()
    };
    Report {
        adapter: "a".to_owned(),
        ceilings: ceilings(),
        drift: Some([90.0, 99.0, 101.0]),
        rows: rows.into_iter().map(row).collect(),
    }
}

#[test]
fn rows_of_two_reports_are_compared_by_name() {
    let old = report([("W1", 4.0), ("W2", 1.0), ("W3", 1.0)]);
    let mut new = report([("W2", 2.0), ("W1", 1.0), ("W4", 1.0)]);
    new.rows.push(Row::failed("W3", "wrong".to_owned()));
    new.ceilings.fma_gflops = 150.0;
    let comparison = Comparison::of(&old, &new);
    assert_eq!(comparison.speedups, [("W1".to_owned(), 4.0), ("W2".to_owned(), 0.5)].into());
    assert_eq!(comparison.ceiling, 1.5);
    assert!((comparison.mean().unwrap() - 2.0_f64.sqrt()).abs() < 1e-12 && comparison.other_adapter.is_none());
    let nothing = Comparison::of(&old, &Report { adapter: "b".to_owned(), rows: Vec::new(), ..new });
    assert_eq!((nothing.mean(), nothing.other_adapter.as_deref()), (None, Some("a")));
}

#[test]
fn a_roofline_names_every_point_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roofline.svg");
    let report = report([("W1/256x256x256", 0.5), ("W2/B16/fwd", 1.0), ("copy", 0.01)]);
    report.plot(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    assert_eq!(text.matches("<circle").count(), 3);
    for part in ["W1/256x256x256, 50 %", "W2/B16/fwd", "copy", "fused multiply-add 100 G/s", "storage read"] {
        assert!(text.contains(part), "{part} is missing");
    }
    for (name, report) in [("roofline.pdf", &report), ("empty.svg", &Report { rows: Vec::new(), ..report.clone() })] {
        let error = report.plot(&folder.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(!folder.path().join(name).exists());
    }
}

/// A device of its own: the counters of the shared one are moved by the other tests of this file.
#[test]
fn the_memory_of_a_training_step_is_what_was_allocated() {
    let gpu = softalign::Gpu::open(&softalign::GpuOptions::default()).unwrap();
    let small = ModelSize { vocabularies: [9, 11], embedding: 12, hidden: 20, batch: 6, steps: 5, ..ModelSize::S };
    for size in [small, ModelSize::S] {
        let memory = TrainingMemory::of(&gpu, &size, None).unwrap();
        assert_eq!(memory.total(), memory.allocated, "{memory:?}");
        assert!(memory.classes.iter().all(|(_, bytes)| *bytes > 0), "{memory:?}");
    }
}
