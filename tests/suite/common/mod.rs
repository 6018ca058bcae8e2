//! What the kernel tests share.
#![allow(dead_code, reason = "each of the programs uses its part")]

mod devices;
pub mod differences;
pub mod generation;
pub mod models;
pub mod ranks;
pub mod training;

use devices::{Devices, device};

use std::{
    collections::HashSet,
    fmt::Debug,
    io::{self, Write as _},
    time::Duration,
};

use softalign::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder, Shape},
    kernels::SHADERS,
    validate::{self, Cases, Row},
};

/// The adapter under test. Without one the tests fail, and the message says how to get one.
pub fn gpu() -> &'static Gpu {
    &device().own
}

/// The same adapter, with the kernels that every adapter can run and every check in them.
pub fn portable() -> &'static Gpu {
    &device().portable
}

/// The same adapter with the kernels that GPUs run, with f16 but without subgroups, and every check in them.
pub fn without_subgroups() -> &'static Gpu {
    &device().without_subgroups
}

/// Every kind of kernels, with what activations may be under it.
pub fn forms() -> Vec<(&'static Gpu, Dtype)> {
    let mut forms = vec![(gpu(), Dtype::F32), (portable(), Dtype::F32)];
    forms.extend([gpu(), without_subgroups()].into_iter().filter(|gpu| gpu.tiles().f16).map(|gpu| (gpu, Dtype::F16)));
    forms
}

/// Cases of a check on the adapter's own kernels, which every user runs.
const OWN: Cases = Cases { least: 20, time: Duration::from_secs(1), most: 500 };
/// Cases of a check in its other forms: the same shaders, but for loads and stores.
const OTHERS: Cases = Cases { least: 5, time: Duration::from_millis(500), most: 500 };
/// The number of the first case.
const SEED: u64 = 1;

/// Runs every check of `kernel` on the adapter's own kernels, on the portable ones, and on those without subgroups.
pub fn validate(kernel: &str) {
    let checks: Vec<_> = validate::checks().into_iter().filter(|check| check.kernel.starts_with(kernel)).collect();
    assert!(checks.len() >= 2, "{kernel} has no check for each direction");
    // No other test has any use for the forms of all these shapes.
    let Devices { own, portable, without_subgroups } = &Devices::default();
    for (form, gpu, dtypes, cases) in [
        ("own", own, &[Dtype::F32, Dtype::F16][..], OWN),
        ("portable, checked", portable, &[Dtype::F32], OTHERS),
        ("without subgroups, checked", without_subgroups, &[Dtype::F16], OTHERS),
    ] {
        for check in checks.iter().filter(|check| dtypes.contains(&check.dtype) && check.runs_on(gpu)) {
            let row = validate::run(gpu, check, cases, SEED).unwrap_or_else(|error| panic!("{form} {kernel}: {error}"));
            let Row { kernel, direction, dtype, cases, worst_error, .. } = &row;
            // Not through the test's own output, which is shown only if it fails.
            let _ = writeln!(
                io::stderr(),
                "{kernel} {direction:?} {dtype}, {form}: {cases} cases from number {SEED} on, worst error {worst_error:.1e}"
            );
            assert!(row.passed, "{form} kernels: {row:?}");
        }
        listed(gpu);
    }
}

/// Every form of the crate's shaders that was compiled stands in the table, whose specialisations are validated without a GPU.
fn listed(gpu: &Gpu) {
    let labels: HashSet<_> = SHADERS
        .iter()
        .flat_map(|shader| (shader.specialisations)(gpu.tiles()).into_iter().map(|form| shader.label(&form)))
        .collect();
    let own = |label: &str| {
        SHADERS.iter().any(|shader| label == shader.name || label.starts_with(&format!("{}/", shader.name)))
    };
    for label in gpu.pipeline_labels().iter().filter(|label| own(label)) {
        assert!(labels.contains(label), "{label} is not among its shader's specialisations");
    }
}

/// A tensor of NaN: an output that a kernel must overwrite completely, or scratch that it must not trust.
pub fn poisoned(gpu: &Gpu, elements: usize) -> Tensor {
    gpu.tensor("poisoned", [elements], Dtype::F32, &vec![f32::NAN; elements]).unwrap()
}

/// Uploads values.
pub fn upload(gpu: &Gpu, shape: impl Into<Shape>, values: &[f32]) -> Tensor {
    gpu.tensor("input", shape, Dtype::F32, values).unwrap()
}

/// As [`poisoned`], of activations.
pub fn poisoned_as(gpu: &Gpu, dtype: Dtype, elements: usize) -> Tensor {
    gpu.floats("poisoned", [elements], dtype, &vec![f32::NAN; elements]).unwrap()
}

/// As [`upload`], of activations.
pub fn upload_as(gpu: &Gpu, dtype: Dtype, shape: impl Into<Shape>, values: &[f32]) -> Tensor {
    gpu.floats("input", shape, dtype, values).unwrap()
}

/// Uploads whole numbers.
pub fn upload_u32(gpu: &Gpu, shape: impl Into<Shape>, values: &[u32]) -> Tensor {
    gpu.tensor("input", shape, Dtype::U32, values).unwrap()
}

/// Records, submits and waits.
pub fn run(gpu: &Gpu, record: impl FnOnce(&mut Recorder) -> Result<()>) {
    let mut recorder = Recorder::new(gpu, "test");
    record(&mut recorder).unwrap();
    let submission = recorder.finish().unwrap().submit(0).unwrap();
    gpu.wait(Some(submission)).unwrap();
}

/// The bits of a tensor, for comparisons that a NaN must not pass.
pub fn bits(gpu: &Gpu, tensor: &Tensor) -> Vec<u32> {
    gpu.read(tensor).unwrap()
}

/// Everything within `tolerance` of the largest value of its tensor; `of` is what it is a result of.
pub fn assert_close(what: &str, of: &impl Debug, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what} of {of:?}");
    let largest = expected.iter().fold(1e-3_f64, |largest, x| largest.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / largest;
        assert!(error <= tolerance, "{what}[{i}] of {of:?}: {found}, expected {expected}");
    }
}
