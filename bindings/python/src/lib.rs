//! The Python door: the native part of the package `softalign`. It converts what goes in and out, raises errors and keeps Ctrl-C
//! alive; what is computed, the crate computes.

mod device;
mod exceptions;
mod model;
mod operations;
mod training;
mod waiting;

use pyo3::pymodule;

/// The native part of `softalign`; the package around it says what is public.
#[pymodule]
mod _softalign {
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use super::{
        device::devices,
        model::{Hypothesis, Model},
        operations::{backward, forward},
        training::train,
    };
}
