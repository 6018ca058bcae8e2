//! Sentence pairs: from tab-separated files to token ids.

use std::{collections::HashSet, path::Path};

use super::{Tokenizer, escaped, is_blank, read_lines};
use crate::{Error, Result, names::setting};

/// A source text and the target text that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Pair {
    /// The text that the encoder reads.
    pub source: String,
    /// The text that the decoder should write.
    pub target: String,
}

impl Pair {
    /// A pair of these two texts.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        Self { source: source.into(), target: target.into() }
    }
}

/// A [`Pair`] as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The source's ids, with the special tokens around it ([`Tokenizer::framed`]). None for a model that reads no source.
    pub source: Vec<u32>,
    /// The target's ids y1 to yn, without `<bos>` and `<eos>`: batches add those.
    pub target: Vec<u32>,
    /// Whether no `<eos>` is expected behind the target: the text goes on there, or it is the name of a class.
    pub cut: bool,
}

impl Example {
    /// A whole target for a source.
    pub fn new(source: Vec<u32>, target: Vec<u32>) -> Self {
        Self { source, target, cut: false }
    }

    /// The same for a target of this tokenizer, behind which nothing is expected where it takes whole texts for tokens.
    pub fn of(tokenizer: &Tokenizer, source: Vec<u32>, target: Vec<u32>) -> Self {
        Self { source, target, cut: tokenizer.takes_whole() }
    }

    /// Tokens that the model should predict: those of the target, and its `<eos>`.
    pub fn predicted(&self) -> usize {
        self.target.len() + usize::from(!self.cut)
    }
}

/// The form of a line, for messages.
const FORM: &str = "source<TAB>target";

/// Reads pairs from a file with one `source<TAB>target` per line ([`read_lines`]); one empty line may end it.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] with the line for everything else.
pub fn read_tsv(path: impl AsRef<Path>) -> Result<Vec<Pair>> {
    read_columns(path.as_ref(), FORM, parse_line)
}

/// Reads a pair from the columns of each line, which are to be in the form `form`; `parse` says what is wrong with those that are not.
pub(super) fn read_columns(
    path: &Path,
    form: &str,
    parse: impl Fn(&[&str]) -> Result<Pair, String>,
) -> Result<Vec<Pair>> {
    let mut lines = read_lines(path)?;
    lines.pop_if(|line| line.is_empty());
    let wrong = |message: String| Error::data(path.display().to_string(), message);
    if lines.is_empty() {
        return Err(wrong(format!("the file is empty; write one {form} per line")));
    }
    let pair = |(line, number): (&String, usize)| {
        let pair = match is_blank(line) {
            true => Err(format!("the line is blank; delete it, or write {form}")),
            false => parse(&line.split('\t').collect::<Vec<_>>()),
        };
        pair.map_err(|why| wrong(format!("line {number}: {why}")))
    };
    lines.iter().zip(1..).map(pair).collect()
}

/// The pair of the columns of a line, or what is wrong with them.
fn parse_line(columns: &[&str]) -> Result<Pair, String> {
    match columns {
        [source, _] if is_blank(source) => {
            Err("the source (before the tab) is empty; fill it in, or delete the line".to_owned())
        }
        [_, target] if is_blank(target) => {
            Err("the target (after the tab) is empty; fill it in, or delete the line".to_owned())
        }
        [source, target] => Ok(Pair::new(*source, *target)),
        [_] => Err(format!("there is no tab; write {FORM}")),
        columns => Err(format!(
            "there are {} tabs, and one is wanted; write {FORM}, and keep other tabs out of the texts",
            columns.len() - 1
        )),
    }
}

/// Turns pairs into token ids; `name` is the file or task they came from, for messages.
///
/// Pairs are numbered like the lines of [`read_tsv`], from 1. `max_length` counts the `<eos>` of either side.
///
/// # Errors
/// [`Error::Data`] with the line where a side is longer than `max_length`, or holds no token at all.
pub fn encode_pairs(
    name: &str,
    pairs: &[Pair],
    source_tokenizer: &Tokenizer,
    target_tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<Vec<Example>> {
    let check = |line: usize, side: &str, tokens: usize| {
        if tokens == 0 {
            return Err(Error::data(name, format!("line {line}: the {side} holds no tokens; drop the line")));
        }
        let length = tokens + 1;
        if length > max_length {
            let message = format!(
                "line {line}: the {side} has {length} tokens with its <eos>, more than the {max_length} allowed; raise {} or \
                 drop the line",
                setting("max_length")
            );
            return Err(Error::data(name, message));
        }
        Ok(())
    };
    pairs
        .iter()
        .zip(1..)
        .map(|(pair, line)| {
            let source = source_tokenizer.encode_source(&pair.source)?;
            check(line, "source", source_tokenizer.own(&source).len())?;
            let target = target_tokenizer.encode(&pair.target)?;
            check(line, "target", target.len())?;
            Ok(Example::of(target_tokenizer, source, target))
        })
        .collect()
}

/// Which of `examples` have at most `max_length` tokens on either side, `<eos>` counted. A warning says how many do not, and where:
/// `name` is the file or task they came from, an example a line.
///
/// # Errors
/// [`Error::Data`] where none does.
pub fn fitting(name: &str, examples: &[Example], max_length: usize) -> Result<Vec<bool>> {
    let fits = |example: &Example| example.source.len().max(example.predicted()) <= max_length;
    let fits: Vec<bool> = examples.iter().map(fits).collect();
    let long = fits.iter().filter(|fits| !**fits).count();
    if let Some(first) = fits.iter().position(|fits| !fits) {
        let longer = setting("max_length");
        let message = format!(
            "{long} of {} pairs have more than {max_length} tokens on a side, its <eos> counted, the first in line {}",
            examples.len(),
            first + 1
        );
        if long == examples.len() {
            return Err(Error::data(name, format!("{message}; raise {longer}, for none is left")));
        }
        tracing::warn!("{}: {message}. They are left out; a larger {longer} keeps them", escaped(name));
    }
    Ok(fits)
}

/// At most `most` distinct sources with all their targets, from all over the pairs, which may be sorted.
pub fn spread(pairs: Vec<Pair>, most: usize) -> Vec<Pair> {
    let mut seen = HashSet::new();
    let sources: Vec<&str> =
        pairs.iter().map(|pair| pair.source.as_str()).filter(|source| seen.insert(*source)).collect();
    let step = sources.len().div_ceil(most).max(1);
    let kept: HashSet<String> = sources.into_iter().step_by(step).map(str::to_owned).collect();
    pairs.into_iter().filter(|pair| kept.contains(&pair.source)).collect()
}
