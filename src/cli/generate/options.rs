//! What may be asked of each source by itself: by options for all of them, or by the fields of an object of `--jsonl`.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use softalign::{
    Error, Result,
    generate::{Sampling, SearchOptions},
};

use crate::cli::search::{Search, number};

/// Options of one source.
#[derive(Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Options {
    /// Print the best N different texts of each source, or N samples: a line each, with the source's number, the text's rank, its
    /// score and the text, between tabs. The search is at least N wide; where it finds fewer, a warning says so. A text that the
    /// model can spell in several ways counts once, with the best of their scores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub n_best: Option<u8>,
    /// Add each text's tokens and the logarithms of their probabilities to the objects of --jsonl.
    #[arg(long, requires = "jsonl")]
    pub token_scores: bool,
    /// Begin every text with this prefix.
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Whether an object of --jsonl has the attention of its texts.
    #[arg(skip)]
    pub attention: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub search: Search,
    #[command(flatten)]
    #[serde(flatten)]
    pub sample: Sample,
}

/// Options of sampling.
#[derive(Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[command(next_help_heading = "Sampling")]
pub struct Sample {
    /// Draw texts at random instead of searching for the likeliest.
    #[arg(long, conflicts_with = "beam")]
    pub sample: bool,
    /// Temperature, which divides the logits before a draw: less than 1 favours likely tokens, more than 1 unlikely ones.
    #[arg(long, value_name = "T", default_value_t = 1.0, requires = "sample", value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the K likeliest tokens [default: from all].
    #[arg(long, value_name = "K", requires = "sample", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Draw from the fewest tokens that hold this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, requires = "sample", value_parser = share, allow_negative_numbers = true)]
    top_p: f32,
    /// Seed of the samples: the same seed, source and place of the source draw the same text.
    #[arg(long, value_name = "SEED", default_value_t = 1, requires = "sample")]
    seed: u64,
}

/// The numbers of texts that may be asked for; what a search can be asked for otherwise, it checks itself.
const TEXTS: RangeInclusive<usize> = 1..=64;

/// The options of [`Sample`] that say how texts are drawn.
const OF_SAMPLES: [&str; 4] = ["seed", "temperature", "top_k", "top_p"];

fn temperature(text: &str) -> Result<f32, String> {
    let wanted = "a number from 0.01 to 100; greedy is the default, without --sample";
    number(text, |value| (0.01..=100.0).contains(&value), wanted)
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0 && value <= 1.0, "a share over 0, up to 1")
}

impl Options {
    /// The library's search options.
    pub fn search(&self) -> SearchOptions {
        let Sample { sample, temperature, top_k, top_p, seed } = self.sample;
        let (n_best, options) = (self.texts(), self.search.options());
        if sample {
            let sampling = Some(Sampling { temperature, top_k: top_k.unwrap_or(0) as usize, top_p });
            return SearchOptions { sampling, n_best, seed, ..options };
        }
        let beam = options.beam.max(n_best);
        // Of a list all are asked for, as some may be spellings of one text.
        SearchOptions { beam, n_best: if n_best > 1 { beam } else { 1 }, seed, ..options }
    }

    /// The number of texts that are wanted of each source.
    pub fn texts(&self) -> usize {
        self.n_best.unwrap_or(1).into()
    }

    /// What is asked about the source, if anything: a model that reads none has no answer to that.
    pub fn of_source(&self) -> Option<&'static str> {
        let asked = [
            ("attention", self.attention),
            ("replace_unk", self.search.replace_unk),
            ("coverage_penalty", self.search.options().coverage_penalty > 0.0),
        ];
        asked.into_iter().find_map(|(field, asked)| asked.then_some(field))
    }

    /// These options, but for those that an object's fields set.
    ///
    /// # Errors
    /// [`Error::Data`] that names a field which is none, or has a value of another type, or is about samples where none are drawn.
    pub fn but_for(&self, fields: Map<String, Value>) -> Result<Self> {
        let own = |error: serde_json::Error| Error::data("options", error.to_string());
        let mut options = self.clone();
        for (name, value) in &fields {
            let mut all: Map<String, Value> =
                serde_json::to_value(&options).and_then(serde_json::from_value).map_err(own)?;
            let Some(field) = all.get_mut(name) else {
                let allowed: Vec<&str> = all.keys().map(String::as_str).collect();
                let message = format!("there is no such field; the fields are id, text, {}", allowed.join(", "));
                return Err(Error::data(format!("`{name}`"), message));
            };
            field.clone_from(value);
            let changed = serde_json::from_value(Value::Object(all));
            options = changed.map_err(|error| Error::data(format!("`{name}`"), error.to_string()))?;
        }
        if !TEXTS.contains(&options.texts()) {
            let message =
                format!("{} texts of a source, and there are {} to {}", options.texts(), TEXTS.start(), TEXTS.end());
            return Err(Error::data("`n_best`", message));
        }
        match OF_SAMPLES.into_iter().find(|name| fields.contains_key(*name) && !options.sample.sample) {
            Some(name) => Err(Error::data(format!("`{name}`"), "is about samples, which `\"sample\": true` asks for")),
            None => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[arg(long)]
        jsonl: bool,
        #[command(flatten)]
        options: Options,
    }

    fn given(line: &str) -> Options {
        let line: Line = clap::Parser::parse_from(line.split(' '));
        assert!(line.jsonl);
        line.options
    }

    fn set(options: &Options, fields: &Value) -> Result<Options> {
        options.but_for(fields.as_object().unwrap().clone())
    }

    /// An object says what the options of a command line say, by their names.
    #[test]
    fn every_option_is_a_field() {
        let plain = given("x --jsonl");
        let fields = json!({
            "beam": 4, "n_best": 3, "length_penalty": 0.7, "coverage_penalty": 1, "no_repeat_ngram": 2, "min_length": 1,
            "max_length": 9, "replace_unk": true, "prefix": "a", "token_scores": true,
        });
        let line = "x --jsonl --beam 4 --n-best 3 --length-penalty 0.7 --coverage-penalty 1 --no-repeat-ngram 2 --min-length 1 \
                    --max-length 9 --replace-unk --prefix a --token-scores";
        assert!(set(&plain, &fields).unwrap() == given(line));
        let fields =
            json!({"sample": true, "temperature": 0.5, "top_k": 7, "top_p": 0.9, "seed": u64::MAX, "forbid_unk": true});
        let line =
            "x --jsonl --sample --temperature 0.5 --top-k 7 --top-p 0.9 --seed 18446744073709551615 --forbid-unk";
        assert!(set(&plain, &fields).unwrap() == given(line));
        // What the command line says holds where an object says nothing, and null is what stands there without a word.
        let sampling = given("x --jsonl --sample --top-k 7 --max-length 5");
        assert!(set(&sampling, &json!({})).unwrap() == sampling);
        assert!(set(&sampling, &json!({"top_k": null, "max_length": null})).unwrap() == given("x --jsonl --sample"));
    }

    #[test]
    fn what_is_no_option_is_named() {
        let plain = given("x --jsonl");
        for (fields, parts) in [
            (json!({"bean": 4}), &["`bean`", "id, text, attention, beam, coverage_penalty", "top_p"][..]),
            (json!({"ensemble": []}), &["`ensemble`: there is no such field"]),
            (json!({"beam": "4"}), &["`beam`", "string \"4\""]),
            (json!({"beam": 1000}), &["`beam`", "1000"]),
            (json!({"n_best": 0}), &["`n_best`: 0 texts", "1 to 64"]),
            (json!({"n_best": 65}), &["`n_best`: 65 texts"]),
            (json!({"n_best": 2, "max_length": -1}), &["`max_length`", "-1"]),
            (json!({"attention": 1}), &["`attention`", "boolean"]),
            (json!({"top_k": 3}), &["`top_k`", "`\"sample\": true`"]),
        ] {
            let said = set(&plain, &fields).err().unwrap().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }
}
