//! Operations on arrays of NumPy, and on whatever speaks DLPack.

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods as _, PyUntypedArrayMethods as _};
use pyo3::{
    Borrowed, Bound, FromPyObject, PyAny, PyErr, PyResult, Python, exceptions::PyValueError,
    prelude::PyAnyMethods as _, pyfunction,
};
use pythonize::depythonize;
use softalign::arrays::{Array, Operation};

use crate::{device::arrays, exceptions::raise};

/// An argument as an array of NumPy, of this type; another is converted where `casting` lets it.
fn as_numpy<'py>(object: Borrowed<'_, 'py, PyAny>, dtype: &str, casting: &str) -> PyResult<Bound<'py, PyAny>> {
    let numpy = object.py().import("numpy")?;
    let is_numpy = object.is_instance(&numpy.getattr("ndarray")?)?;
    // Shared rather than converted, and with DLPack's own words about what cannot be.
    let reader = if !is_numpy && object.hasattr("__dlpack__")? { "from_dlpack" } else { "asarray" };
    let array = numpy.call_method1(reader, (object,))?;
    array.call_method1("astype", (dtype, "C", casting, true, false))
}

/// An argument of an operation.
pub struct Operand(Array);

impl<'py> FromPyObject<'_, 'py> for Operand {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let array = as_numpy(object, "float32", "same_kind")?.cast_into::<PyArrayDyn<f32>>()?;
        Ok(Self(Array { shape: array.shape().into(), values: array.to_vec()? }))
    }
}

/// How many steps, keys or columns of each row are valid.
pub struct Lengths(Vec<u32>);

impl<'py> FromPyObject<'_, 'py> for Lengths {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let array = as_numpy(object, "int64", "safe")?.cast_into::<PyArrayDyn<i64>>()?;
        let length = |length: i64| {
            u32::try_from(length)
                .map_err(|_| PyValueError::new_err(format!("lengths: {length}; a length is a number from 0 on")))
        };
        Ok(Self(array.to_vec()?.into_iter().map(length).collect::<PyResult<_>>()?))
    }
}

/// The outputs of an operation.
#[pyfunction]
#[pyo3(signature = (operation, inputs, lengths=None))]
pub fn forward<'py>(
    py: Python<'py>,
    operation: &Bound<'py, PyAny>,
    inputs: Vec<Operand>,
    lengths: Option<Lengths>,
) -> PyResult<Vec<Bound<'py, PyArrayDyn<f32>>>> {
    let (operation, inputs) = (depythonize::<Operation>(operation)?, unwrapped(inputs));
    let lengths = lengths.map(|Lengths(lengths)| lengths);
    let outputs = py.detach(|| arrays()?.forward(operation, &inputs, lengths.as_deref()));
    given(py, outputs.map_err(raise)?)
}

/// The gradients of an operation's inputs from those of its outputs, each of which may be `None`.
#[pyfunction]
pub fn backward<'py>(
    py: Python<'py>,
    operation: &Bound<'py, PyAny>,
    inputs: Vec<Operand>,
    lengths: Option<Lengths>,
    upstream: Vec<Option<Operand>>,
) -> PyResult<Vec<Bound<'py, PyArrayDyn<f32>>>> {
    let (operation, inputs) = (depythonize::<Operation>(operation)?, unwrapped(inputs));
    let lengths = lengths.map(|Lengths(lengths)| lengths);
    let upstream: Vec<_> = upstream.into_iter().map(|given| given.map(|Operand(array)| array)).collect();
    let gradients = py.detach(|| arrays()?.backward(operation, &inputs, lengths.as_deref(), &upstream));
    given(py, gradients.map_err(raise)?)
}

fn unwrapped(operands: Vec<Operand>) -> Vec<Array> {
    operands.into_iter().map(|Operand(array)| array).collect()
}

fn given(py: Python<'_>, arrays: Vec<Array>) -> PyResult<Vec<Bound<'_, PyArrayDyn<f32>>>> {
    arrays.into_iter().map(|Array { shape, values }| PyArray1::from_vec(py, values).reshape(shape.dims())).collect()
}
