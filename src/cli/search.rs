//! Arguments of every command that searches for texts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use softalign::{
    Error, Gpu, Result,
    generate::{Generator, SearchOptions},
    model::{Answers, Kind, Model, Network},
    text::{Pair, read_questions, read_text, read_tsv},
    train::TrainOptions,
};

/// Whether the run in a model's folder takes the targets of all pairs with one source for references of one text.
pub fn groups_references(folder: &Path) -> bool {
    let run = read_text(folder.join("run.json")).ok();
    run.and_then(|run| serde_json::from_str::<TrainOptions>(&run).ok()).is_some_and(|run| run.group_references)
}

/// Whether a folder holds a model that reads no source, and continues texts. One that is no model folder does not.
pub fn is_language_model(folder: &Path) -> bool {
    network(folder).is_some_and(|network| !network.limits().reads_source())
}

/// Whether a folder holds an encoder that fills masked tokens in.
pub fn fills_masks(folder: &Path) -> bool {
    network(folder).is_some_and(|network| matches!(network.answers(), Answers::Filled { .. }))
}

/// Whether a folder holds a model that answers questions by parts of paragraphs.
pub fn answers_questions(folder: &Path) -> bool {
    network(folder).is_some_and(|network| network.answers() == Answers::Spans)
}

/// The pairs of a file, in the form that the model in a folder takes.
///
/// # Errors
/// Those of [`read_tsv`] and [`read_questions`].
pub fn read_pairs(folder: &Path, file: &Path) -> Result<Vec<Pair>> {
    if answers_questions(folder) { read_questions(file) } else { read_tsv(file) }
}

/// The network of a model folder, if that is what a folder is.
fn network(folder: &Path) -> Option<Network> {
    let path = folder.join("config.json");
    read_text(&path).ok().and_then(|text| Kind::read(&text, &path.display().to_string()).ok())
}

/// Search options of the commands that write texts.
#[derive(Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[command(next_help_heading = "Search")]
pub struct Search {
    /// Further models of an ensemble: at each step their probabilities are averaged with the first one's. They must have its
    /// vocabularies.
    #[arg(long, value_name = "DIR", num_args = 1..=15)]
    #[serde(skip)]
    ensemble: Vec<PathBuf>,
    /// Hypotheses kept at each step; 1 is greedy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    beam: u8,
    /// Length penalty: rank the texts of a beam by log-probability / ((5 + length) / 6)^ALPHA (Wu et al. 2016). 0 favours short
    /// texts, 1 ranks about by the mean log-probability of a token.
    #[arg(long, value_name = "ALPHA", default_value_t = 0.0, value_parser = penalty, allow_negative_numbers = true)]
    length_penalty: f32,
    /// Coverage penalty: rank texts of a beam lower that leave parts of the source unread, by BETA times the sum over source
    /// tokens of log(min(attention, 1)). Try 0.2.
    #[arg(long, value_name = "BETA", default_value_t = 0.0, value_parser = penalty, allow_negative_numbers = true)]
    coverage_penalty: f32,
    /// Write no sequence of N tokens twice in a text; 0 allows all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    no_repeat_ngram: usize,
    /// Let no text end before it has N tokens.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_length: usize,
    /// Cut texts at N tokens, their end token included [default: the model's longest].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Write, in place of `<unk>`, the source token that it attended to most, the source's end left aside.
    #[arg(long)]
    pub replace_unk: bool,
    /// Never write `<unk>`, so that there is none to replace.
    #[arg(long, conflicts_with = "replace_unk")]
    forbid_unk: bool,
}

/// A penalty of 0 to 100.
fn penalty(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..=100.0).contains(&value), "a number from 0 to 100")
}

/// A number in a range, or what was wanted.
pub fn number(text: &str, valid: impl Fn(f32) -> bool, wanted: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value| valid(*value)).ok_or_else(|| format!("not {wanted}"))
}

impl Search {
    /// Whether nothing is said about the search itself.
    pub fn is_plain(&self) -> bool {
        self.options() == SearchOptions::default()
    }

    /// The library's search options.
    pub fn options(&self) -> SearchOptions {
        SearchOptions {
            beam: self.beam.into(),
            length_penalty: self.length_penalty,
            coverage_penalty: self.coverage_penalty,
            no_repeat_ngram: self.no_repeat_ngram,
            forbid_unknown: self.forbid_unk,
            min_length: self.min_length,
            max_length: self.max_length,
            attended: self.replace_unk,
            ..SearchOptions::default()
        }
    }

    /// The model of `folder`, and a generator for it and the rest of its ensemble, that will search by `options`.
    ///
    /// # Errors
    /// [`Error::Data`] for a folder that is no model, a member of the ensemble with other vocabularies, or lengths that leave
    /// no text; [`Error::Io`].
    pub fn load(&self, gpu: &Gpu, folder: &Path, options: &SearchOptions) -> Result<(Model, Generator)> {
        let model = Model::load(gpu, folder)?;
        let others = self.ensemble.iter().map(|folder| Model::load(gpu, folder)).collect::<Result<Vec<_>>>()?;
        let generator = Generator::ensemble(&model, &others)?;
        let longest = self.max_length.unwrap_or(generator.longest());
        if self.min_length >= longest {
            let message =
                format!("{} is not less than the greatest length, {longest}; see --max-length", self.min_length);
            return Err(Error::data("--min-length", message));
        }
        if options.beam == 1 && (options.length_penalty > 0.0 || options.coverage_penalty > 0.0) {
            tracing::warn!("penalties choose among the texts of a beam; without --beam they change scores alone");
        }
        Ok((model, generator))
    }
}
