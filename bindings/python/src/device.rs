//! The device of the process, and those that there are.

use std::sync::OnceLock;

use pyo3::{Bound, PyAny, PyResult, Python, pyfunction};
use pythonize::pythonize;
use softalign::{
    Gpu, GpuOptions, Result,
    arrays::Arrays,
    gpu::{Description, adapter},
};

static ARRAYS: OnceLock<Arrays> = OnceLock::new();

/// Operations on the process's device, which is opened when it is first asked for: the one that the environment names.
pub fn arrays() -> Result<&'static Arrays> {
    if let Some(arrays) = ARRAYS.get() {
        return Ok(arrays);
    }
    let opened = Arrays::new(&Gpu::open(&GpuOptions::from_env())?);
    Ok(ARRAYS.get_or_init(|| opened))
}

/// The adapters of this machine, best first, with the limits and features that kernels depend on.
#[pyfunction]
pub fn devices(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let found: Vec<Description> = py.detach(|| adapter::list().iter().map(Description::from).collect());
    Ok(pythonize(py, &found)?)
}
