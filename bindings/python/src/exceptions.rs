//! Errors as Python's own exceptions, with the texts that they have everywhere.

use pyo3::{
    PyErr,
    exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError},
};
use softalign::Error;

/// What the caller can change is a `ValueError`; what the system refuses an `OSError` or a `MemoryError`; all else, such as an
/// adapter that is not there, a `RuntimeError`.
pub fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Shape { .. } | Error::Data { .. } => PyValueError::new_err(text),
        Error::Io { .. } => PyOSError::new_err(text),
        Error::OutOfMemory { .. } => PyMemoryError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
