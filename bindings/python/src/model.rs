//! A model folder: loaded, and asked.

use std::{path::PathBuf, sync::Mutex};

use numpy::{PyArray1, PyArray2, PyArrayMethods as _};
use pyo3::{
    Bound, Py, PyResult, Python,
    exceptions::PyTypeError,
    pyclass, pymethods,
    types::{PyDict, PyDictMethods as _},
};
use pythonize::depythonize;
use softalign::{
    Result,
    generate::{Embedder, Generator, Scorer, SearchOptions},
    model::{self, Prompt},
    text::Pair,
};

use crate::{
    device::arrays,
    exceptions::raise,
    waiting::{Signals, interruptible, lock},
};

/// Texts between two looks at signals, where a call does many.
const PART: usize = 1_024;

/// A model with its tokenizers, on the device. All threads may ask it; they are answered one after the other.
#[pyclass(frozen, module = "softalign")]
pub struct Model {
    model: model::Model,
    generator: Mutex<Generator>,
    scorer: Mutex<Scorer>,
    /// None before it is first asked for: not every model embeds.
    embedder: Mutex<Option<Embedder>>,
}

/// A text that the model wrote.
#[pyclass(frozen, get_all, module = "softalign")]
pub struct Hypothesis {
    /// The text.
    text: String,
    /// The sum of the tokens' log-probabilities, over the length penalty, plus the coverage penalty.
    score: f32,
    /// Whether it ended by itself rather than at the greatest length.
    finished: bool,
    /// The tokens of the source.
    source_tokens: Vec<String>,
    /// The tokens of the text, its end among them.
    tokens: Vec<String>,
    /// `[T, S]`: how much each token attended to each of the source's; where it was asked for.
    attention: Option<Py<PyArray2<f32>>>,
}

/// A hypothesis before Python holds it.
struct Found {
    text: String,
    hypothesis: softalign::generate::Hypothesis,
    /// Names of the tokens of source and text.
    names: [Vec<String>; 2],
    attention: Option<Vec<f32>>,
}

#[pymethods]
impl Model {
    /// Loads a model folder.
    #[staticmethod]
    fn load(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        let loaded = py.detach(|| model::Model::load(arrays()?.gpu(), folder));
        let model = loaded.map_err(raise)?;
        let generator = Generator::new(&model);
        Ok(Self { scorer: generator.scorer().into(), generator: generator.into(), model, embedder: Mutex::default() })
    }

    /// The name of its architecture.
    #[getter]
    fn architecture(&self) -> &str {
        self.model.network.name()
    }

    fn __repr__(&self) -> String {
        format!("<softalign.Model {}, {} parameters>", self.architecture(), self.model.parameters.elements())
    }

    /// The texts that the model writes for each of `texts`, the best first. Options are those of a search.
    #[pyo3(signature = (texts, *, attention=false, **options))]
    fn generate(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        attention: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Vec<Hypothesis>>> {
        let options = search(options)?;
        let answers = py.detach(|| self.answer(&texts, attention, &options))?;
        answers.into_iter().map(|found| found.into_iter().map(|found| found.given(py)).collect()).collect()
    }

    /// The log-probability of each target, its end included, given its source.
    fn score<'py>(&self, py: Python<'py>, pairs: Vec<(String, String)>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let scores = py.detach(|| {
            let examples = pairs.into_iter().map(|(source, target)| self.model.scored(&Pair::new(source, target)));
            let examples = examples.collect::<Result<Vec<_>>>().map_err(raise)?;
            let (mut scorer, mut scores, signals) = (lock(&self.scorer), Vec::new(), Signals::new());
            for part in examples.chunks(PART) {
                scores.extend(scorer.score(part).map_err(raise)?.iter().map(|found| found.log_probability));
                signals.check()?;
            }
            PyResult::Ok(scores)
        })?;
        Ok(PyArray1::from_vec(py, scores))
    }

    /// The embedding of each text, `[N, D]`; by an encoder alone.
    fn embed<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let embedded = py.detach(|| {
            let tokens = texts.iter().map(|text| self.model.encode(text)).collect::<Result<Vec<_>>>().map_err(raise)?;
            let mut embedder = lock(&self.embedder);
            let embedder = match &mut *embedder {
                Some(embedder) => embedder,
                none => none.insert(Embedder::new(&self.model).map_err(raise)?),
            };
            let (mut embedded, signals) = (Vec::new(), Signals::new());
            for part in tokens.chunks(PART) {
                embedded.extend(embedder.embed(part).map_err(raise)?);
                signals.check()?;
            }
            PyResult::Ok(embedded)
        })?;
        Ok(PyArray2::from_vec2(py, &embedded)?)
    }
}

#[pymethods]
impl Hypothesis {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<softalign.Hypothesis {:?}, score {:.4}>", self.text, self.score)
    }
}

/// The options of a search by the names that Python gives.
fn search(options: Option<&Bound<'_, PyDict>>) -> PyResult<SearchOptions> {
    let Some(options) = options.filter(|options| !options.is_empty()) else { return Ok(SearchOptions::default()) };
    depythonize(options).map_err(|error| PyTypeError::new_err(format!("generate: {error}")))
}

impl Model {
    fn answer(&self, texts: &[String], attention: bool, options: &SearchOptions) -> PyResult<Vec<Vec<Found>>> {
        let prompts = texts.iter().map(|text| self.model.prompt(text)).collect::<Result<Vec<_>>>().map_err(raise)?;
        let (sources, prefixes): (Vec<_>, Vec<_>) =
            prompts.into_iter().map(|Prompt { source, prefix }| (source, prefix)).unzip();
        let mut generator = lock(&self.generator);
        let found = interruptible(generator.generate_behind_async(&sources, &prefixes, options))?;
        let answers = texts.iter().zip(&sources).zip(found).map(|((text, source), hypotheses)| {
            let found = hypotheses.into_iter().map(|hypothesis| {
                let attention = match attention {
                    true => Some(interruptible(generator.alignment_async(source, &hypothesis.tokens))?),
                    false => None,
                };
                let names = self.model.names(source, &hypothesis.tokens);
                let text = self.model.text(text, &hypothesis.tokens).map_err(raise)?;
                Ok(Found { text, hypothesis, names, attention })
            });
            found.collect()
        });
        answers.collect()
    }
}

impl Found {
    fn given(self, py: Python<'_>) -> PyResult<Hypothesis> {
        let Self { text, hypothesis, names: [source_tokens, tokens], attention } = self;
        let attention = attention.map(|weights| {
            let shape = [weights.len() / source_tokens.len().max(1), source_tokens.len()];
            PyResult::Ok(PyArray1::from_vec(py, weights).reshape(shape)?.unbind())
        });
        let (score, finished) = (hypothesis.score, hypothesis.finished);
        Ok(Hypothesis { text, score, finished, source_tokens, tokens, attention: attention.transpose()? })
    }
}
