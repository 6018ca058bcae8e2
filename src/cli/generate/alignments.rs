//! The file of `--alignments`: the alignment of each source with its best text.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use softalign::{Error, Result, files, generate::Generator, model::Model};

use super::answer::Answer;

/// The alignments of the answers so far, in their file or for it.
pub struct Alignments {
    path: PathBuf,
    form: Form,
}

enum Form {
    /// A line for each source, in the Pharaoh form.
    Links(File),
    /// A JSON object for each source, on a line of its own.
    Lines(File),
    /// A JSON array, which is written when it is whole.
    Array(Vec<Aligned>),
}

/// A source and its best text; nothing where there is no text.
#[derive(Default, Serialize)]
struct Aligned {
    sentence: u64,
    #[serde(flatten)]
    alignment: Alignment,
}

/// The tokens of a source and of a text, and a row of source weights for each target token.
#[derive(Clone, Default, Serialize)]
pub struct Alignment {
    source: Vec<String>,
    target: Vec<String>,
    weights: Vec<Vec<f32>>,
}

impl Alignment {
    /// # Errors
    /// [`Error::Data`] for a model without attention or a source; the errors of the device.
    pub fn new(model: &Model, generator: &mut Generator, source: &[u32], target: &[u32]) -> Result<Self> {
        let weights = generator.alignment(source, target)?;
        let weights = weights.chunks(source.len()).map(<[f32]>::to_vec).collect();
        let [source, target] = model.names(source, target);
        Ok(Self { source, target, weights })
    }
}

impl Alignments {
    /// # Errors
    /// [`Error::Io`] for a file that cannot be made.
    pub fn new(path: &Path) -> Result<Self> {
        let ends_in = |ending: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending));
        let form = if ends_in("json") {
            Form::Array(Vec::new())
        } else if ends_in("jsonl") {
            Form::Lines(files::create(path)?)
        } else {
            Form::Links(files::create(path)?)
        };
        Ok(Self { path: path.to_owned(), form })
    }

    /// Adds an answer.
    ///
    /// # Errors
    /// The errors of the device; [`Error::Io`].
    pub fn add(&mut self, model: &Model, generator: &mut Generator, answer: &Answer<'_>) -> Result<()> {
        let write = |file: &mut File, line: String| {
            // In one piece, so that lines are whole whenever the run ends.
            file.write_all((line + "\n").as_bytes()).map_err(Error::io(&self.path))
        };
        match &mut self.form {
            Form::Links(file) => write(file, links(model, answer)),
            Form::Lines(file) => write(file, aligned(model, generator, answer).and_then(|found| json(&found))?),
            Form::Array(all) => {
                all.push(aligned(model, generator, answer)?);
                Ok(())
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        match self.form {
            Form::Links(_) | Form::Lines(_) => Ok(()),
            Form::Array(all) => files::write_atomically(&self.path, (json(&all)? + "\n").as_bytes()),
        }
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::data("--alignments", error.to_string()))
}

/// The source token that each target token attended to most. One that attended to a special token around the source has none.
fn links(model: &Model, answer: &Answer<'_>) -> String {
    let Some((input, best)) = answer.source.input.as_ref().zip(answer.hypotheses.first()) else { return String::new() };
    let own = model.source.own(&input.tokens);
    let attended = best.attended.iter().map(|position| *position as usize).zip(0..);
    let links = attended.filter(|(position, _)| own.contains(position));
    links.map(|(position, target)| format!("{}-{target}", position - own.start)).collect::<Vec<_>>().join(" ")
}

fn aligned(model: &Model, generator: &mut Generator, answer: &Answer<'_>) -> Result<Aligned> {
    let sentence = answer.number;
    let Some((input, best)) = answer.source.input.as_ref().zip(answer.hypotheses.first()) else {
        return Ok(Aligned { sentence, ..Aligned::default() });
    };
    let alignment = Alignment::new(model, generator, &input.tokens, &best.tokens)?;
    Ok(Aligned { sentence, alignment })
}
