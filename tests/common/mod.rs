//! What the kernel tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::OnceLock;

use softalign::{Gpu, GpuOptions, validate};

/// The adapter under test. Without one the tests fail, and the message says how to get one.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions::default()))
}

/// The same adapter, with the kernels that every adapter can run and every check in them.
pub fn portable() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions { portable: true, checked: true, ..GpuOptions::default() }))
}

fn open(options: GpuOptions) -> Gpu {
    Gpu::open(&options).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs every check whose kernel's name starts with `kernel`, on the adapter's own and on the portable kernels.
pub fn validate(kernel: &str, cases: usize) {
    let checks: Vec<_> = validate::checks().into_iter().filter(|check| check.kernel.starts_with(kernel)).collect();
    assert!(checks.len() >= 2, "{kernel} has no check for each direction");
    for (form, gpu) in [("own", gpu()), ("portable, checked", portable())] {
        for check in &checks {
            let row = validate::run(gpu, check, cases, 1).unwrap_or_else(|error| panic!("{form} {kernel}: {error}"));
            assert!(row.passed, "{form} kernels: {row:?}");
        }
    }
}
