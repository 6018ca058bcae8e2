//! Training, with its events told to a function of Python's.

use std::{cell::RefCell, path::PathBuf};

use pyo3::{
    Bound, Py, PyAny, PyErr, PyResult, Python, exceptions::PyTypeError, prelude::PyAnyMethods as _, pyfunction,
};
use pythonize::{depythonize, pythonize};
use serde_json::{Map, Value};
use softalign::{
    text::Pair,
    train::{Budget, Data, Destination, Event, Pairs, TrainOptions},
};

use crate::{device::arrays, exceptions::raise, waiting::Signals};

/// Trains a model into a folder, until the budget is used up; gives how far the run has come. A signal, or an exception of the
/// callback, ends it where it stands: it is saved, then the exception is raised, and the same call goes on.
#[pyfunction]
#[pyo3(signature = (data, destination, budget, options, callback=None))]
pub fn train<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    destination: (PathBuf, bool),
    budget: &Bound<'py, PyAny>,
    options: &Bound<'py, PyAny>,
    callback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let data = self::data(data)?;
    let budget: Budget = depythonize(budget)?;
    let budget = budget.or_epochs_for(&data);
    let options: Map<String, Value> = depythonize(options)?;
    let (folder, overwrite) = &destination;
    let outcome = py.detach(|| {
        let options = TrainOptions::of_settings(data, folder, &options).map_err(raise)?;
        let gpu = arrays().map_err(raise)?.gpu();
        let raised: RefCell<Option<PyErr>> = RefCell::default();
        let keep = |result: PyResult<()>| {
            let mut raised = raised.borrow_mut();
            *raised = raised.take().or(result.err());
            raised.is_some()
        };
        let signals = Signals::new();
        let stop = || keep(signals.check());
        let mut observe = |event: Event<'_>| {
            if let Some(callback) = callback.as_ref().filter(|_| raised.borrow().is_none()) {
                let told = || Python::attach(|py| callback.call1(py, (pythonize(py, &event)?,)).map(|_| ()));
                keep(told());
            }
        };
        let destination = Destination { folder, overwrite: *overwrite };
        let outcome =
            softalign::train::train(gpu, &options, budget, destination, &stop, &mut observe).map_err(raise)?;
        raised.into_inner().map_or(Ok(outcome), Err)
    })?;
    Ok(pythonize(py, &outcome.progress)?)
}

/// Training and validation pairs, or data as a run's `run.json` has them.
fn data(given: &Bound<'_, PyAny>) -> PyResult<Data> {
    type Texts = Vec<(String, String)>;
    let pairs = |texts: Texts| texts.into_iter().map(|(source, target)| Pair::new(source, target)).collect();
    if let Ok((train, valid)) = given.extract::<(Texts, Texts)>() {
        return Ok(Data::Pairs(Pairs::new(pairs(train), pairs(valid))));
    }
    depythonize(given).map_err(|error| {
        PyTypeError::new_err(format!(
            "data: {error}. Give the name of a built-in task, a tuple of two lists of pairs of texts, to learn from and to check \
             with, or a dict such as {{\"files\": {{\"train\": \"a.tsv\", \"valid\": \"b.tsv\"}}}}"
        ))
    })
}
