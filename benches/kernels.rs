//! Single kernels, from submit to the end of the work: `cargo bench -- --quick FILTER`. What they run on, and how their output
//! is compared with the reference before anything is timed, is that of [`softalign::bench`]; `softalign bench` measures more,
//! and against the adapter's limits.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use softalign::{
    Gpu, GpuOptions,
    bench::{Subject, Workload, workloads},
};

/// Of each large kernel a small shape and a large one, but none that takes seconds.
const WORKLOADS: [&str; 10] = [
    "W1/256x256x256/nt",
    "W1/1024x1024x1024/nt",
    "W2/B16_T32_S32_H256/fwd",
    "W2/B8_T128_S128_H512/fwd",
    "W3/4096x1024",
    "W3/512x30000",
    "W4/B64_T24_I256_H256/fwd",
    "W4/B128_T30_I256_H512/fwd",
    "W7/B8_h8_T256_S256_D64/fwd",
    "W7/B1_h8_T2048_S2048_D64/fwd",
];

/// Prepares, checks and times a workload; with a filter on the command line criterion runs only those that match.
fn time(criterion: &mut Criterion, gpu: &Gpu, workload: &Workload) {
    let mut prepared = None;
    criterion.bench_function(workload.key(), |bencher| {
        let work = prepared.get_or_insert_with(|| {
            let Subject { mut work, check, tolerance, .. } =
                workload.prepare(gpu).unwrap_or_else(|error| panic!("{error}"));
            let error = check(&mut work).unwrap_or_else(|error| panic!("{error}"));
            assert!(error <= tolerance, "{} is wrong by {error}", workload.key());
            work
        });
        bencher.iter(|| work.run(gpu).unwrap_or_else(|error| panic!("{error}")));
    });
}

fn kernels(criterion: &mut Criterion) {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    for workload in workloads().iter().filter(|workload| WORKLOADS.contains(&workload.key())) {
        time(criterion, &gpu, workload);
    }
}

// Plots would want a font, and machines without one panic.
criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    targets = kernels
}
criterion_main!(benches);
