//! A run on one page of HTML: what it was told, its curves, what the model does and where it errs. Feature `report`.
//!
//! The page needs no network and no other file. What is shown lies in it as JSON; its script makes every text of that a text
//! node, so that nothing in data or in a model becomes part of the page's own code.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod errors;
mod examples;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;

pub use errors::{Errors, LengthErrors};
pub use examples::Example;

use crate::{
    Error, Result, files,
    generate::{Generator, Scoring, SearchOptions, evaluate_in_full},
    model::Model,
    text::{Pair, read_text},
    train::{History, Panel, Session, panels},
    visible::replaced,
};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The contents of a page.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    name: String,
    /// Seconds since 1970.
    written: u64,
    /// Seconds after which the page loads itself again.
    reload: Option<u64>,
    /// Names and values, as the run's and the model's own files have them.
    run: Vec<(String, String)>,
    model: Vec<(String, String)>,
    session: Option<Session>,
    progress: Option<Progress>,
    panels: Vec<Panel>,
    best: Option<u64>,
    /// The scores of the last validation in training.
    validated: Vec<(String, f64)>,
    examined: Option<Examined>,
}

#[derive(Clone, Debug, Serialize)]
struct Progress {
    step: u64,
    epoch: u64,
    seconds: f64,
    total: Option<u64>,
    tokens_per_second: Option<f64>,
}

/// The model's answers on pairs, and their errors.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// The origin of the pairs.
    pub data: String,
    /// The number of distinct sources.
    pub sources: usize,
    /// Distinct sources there are.
    pub of: usize,
    /// Hypotheses kept at each step of the search.
    pub beam: usize,
    /// The scores, by the names that `softalign evaluate --json` gives them.
    pub scores: Value,
    /// A few sources with what the model made of them.
    pub examples: Vec<Example>,
    /// Counts of errors.
    pub errors: Errors,
}

impl Examined {
    /// Lets a model answer `pairs`, which are from all over `of` distinct sources, and counts what went wrong. `generator` is
    /// the model's, alone or in an ensemble.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for pairs that cannot be encoded or scored; the errors of the device.
    pub fn new(
        generator: &mut Generator,
        model: &Model,
        (data, pairs, of): (String, &[Pair], usize),
        search: &SearchOptions,
        scoring: &Scoring,
    ) -> Result<Self> {
        let evaluation = evaluate_in_full(generator, model, pairs, search, scoring)?;
        let answers = examples::answers(model, &evaluation.texts, &evaluation.answers)?;
        Ok(Self {
            data,
            sources: evaluation.texts.len(),
            of,
            beam: search.beam,
            scores: serde_json::to_value(&evaluation).map_err(|error| Error::data("scores", error.to_string()))?,
            examples: examples::choose(generator, model, &answers, search)?,
            errors: errors::count(&answers),
        })
    }
}

impl Report {
    /// A report from the files of a run or model folder, whether the run goes on or not. Needs no adapter.
    ///
    /// # Errors
    /// [`Error::Data`] for a folder that holds neither a run nor a model; [`Error::Io`].
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let [run, model] = ["run.json", "config.json"].map(|name| settings(&folder.join(name)));
        let (run, model) = (run?, model?);
        if run.is_empty() && model.is_empty() {
            let message = "holds neither a run nor a model; `softalign train` writes both";
            return Err(Error::data(folder.display().to_string(), message));
        }
        let history = History::read(folder)?;
        // "." and the like have no name of their own.
        let whole = folder.canonicalize().map_err(Error::io(folder))?;
        let of_validation = history.series.keys().filter_map(|tag| Some((tag.strip_prefix("valid/")?, tag)));
        Ok(Self {
            name: whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned(),
            written: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            reload: None,
            run,
            model,
            session: Session::read(folder)?,
            progress: (history.step > 0).then(|| Progress {
                step: history.step,
                epoch: history.epoch,
                seconds: history.seconds,
                total: history.total,
                tokens_per_second: history.last("train/tokens_per_second"),
            }),
            panels: panels(&history),
            best: history.best,
            validated: of_validation.filter_map(|(name, tag)| Some((name.to_owned(), history.last(tag)?))).collect(),
            examined: None,
        })
    }

    /// With what a model does on pairs.
    pub fn with(self, examined: Option<Examined>) -> Self {
        Self { examined, ..self }
    }

    /// The report as a page that reloads itself after so many seconds, for a run that goes on.
    pub fn reloading(self, seconds: u64) -> Self {
        Self { reload: Some(seconds), ..self }
    }

    /// The page.
    ///
    /// # Errors
    /// [`Error::Data`] if the report cannot be written as JSON.
    pub fn html(&self) -> Result<String> {
        let data = serde_json::to_string(self).map_err(|error| Error::data("report", error.to_string()))?;
        // Neither `</script>` nor `<!--` can be spelled without this character, which is in texts alone.
        let data = data.replace('<', "\\u003c");
        // What cannot be seen would turn lines around, or be missed; a space of any kind is a space.
        let escape = |c: char| if c.is_whitespace() { c.to_string() } else { format!("\\\\u{{{:x}}}", u32::from(c)) };
        let data = replaced(&data, escape);
        Ok(PAGE.replace("{style}", STYLE).replace("{script}", SCRIPT).replace("{data}", &data))
    }

    /// Writes the page: whole, or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_atomically(path, self.html()?.as_bytes())
    }
}

/// The settings in a file, level by level; none where there is no such file.
fn settings(path: &Path) -> Result<Vec<(String, String)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::data(path.display().to_string(), format!("not JSON ({error}); restore it")))?;
    let mut found = Vec::new();
    flatten("", &value, &mut found);
    Ok(found)
}

fn flatten(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let field = field.replace('_', " ");
                flatten(&if name.is_empty() { field } else { format!("{name}, {field}") }, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => found.push((name.to_owned(), text.clone())),
        other => found.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str) -> Report {
        Report {
            name: name.to_owned(),
            written: 0,
            reload: None,
            run: vec![(name.to_owned(), name.to_owned())],
            model: Vec::new(),
            session: None,
            progress: None,
            panels: Vec::new(),
            best: None,
            validated: Vec::new(),
            examined: None,
        }
    }

    #[test]
    fn text_cannot_leave_the_data() {
        let hostile = "</script><script>alert(1)</script><!-- <b> {script} {data} \u{2028} \" \\ &lt;";
        let page = report(hostile).html().unwrap();
        let quiet = report("").html().unwrap();
        for opening in ["<script", "</script", "<!--", "<b>"] {
            assert_eq!(page.matches(opening).count(), quiet.matches(opening).count(), "{opening}");
        }
        // The data that the page's script reads are unchanged.
        let data = page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["name"], hostile);
        assert_eq!(value["run"][0][1], hostile);
        let turning = "\u{202e}a\u{200b} \u{3000}\u{646}\u{200c}\u{627}";
        let page = report(turning).html().unwrap();
        assert!(!page.contains(['\u{202e}', '\u{200b}']) && page.contains("\u{646}\u{200c}\u{627}"));
        let data = page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["name"], "\\u{202e}a\\u{200b} \u{3000}\u{646}\u{200c}\u{627}");
    }

    #[test]
    fn the_page_is_all_that_it_needs() {
        let page = report("a").html().unwrap();
        for outside in ["http://", "https://", "src=", "@import", "url(", "fetch(", "innerHTML", "document.write"] {
            // The namespace of SVG is a name, and nothing is loaded from it.
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'") && !page.contains("{style}") && !page.contains("{data}"));
    }

    #[test]
    fn settings_are_flattened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        std::fs::write(&path, r#"{"data": {"task": "numbers"}, "rate": 0.1, "max_length": 5, "none": null}"#).unwrap();
        let wanted = [("data, task", "numbers"), ("max length", "5"), ("rate", "0.1")];
        let mut found = settings(&path).unwrap();
        found.sort();
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(settings(&folder.path().join("none.json")).unwrap().is_empty());
    }
}
