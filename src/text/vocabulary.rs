//! Units of tokens, and the tokens that a vocabulary keeps.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::SPECIALS;
use crate::{Error, Result};

/// The unit of a text's tokens, written as in `--source-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenUnit {
    /// Every Unicode scalar is a token, spaces and newlines included.
    Chars,
    /// Everything between white space is a token.
    Words,
    /// Parts of words by byte-pair encoding, trained on the corpus: `bpe:8000` for at most 8,000 tokens.
    Bpe(usize),
    /// Parts of words by a unigram language model, trained on the corpus: `unigram:8000`.
    Unigram(usize),
    /// The tokens of a Hugging Face `tokenizer.json`: its path.
    File(PathBuf),
}

impl TokenUnit {
    /// The pieces of `text`, as written, that a vocabulary is made of: scalars or words.
    pub fn split<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        // One of the two is always empty: cheaper than a boxed iterator, and a single return type.
        let (chars, words) = if *self == Self::Chars { (text, "") } else { ("", text) };
        let scalars = chars.char_indices().filter_map(move |(at, c)| chars.get(at..at + c.len_utf8()));
        scalars.chain(words.split_whitespace())
    }
}

impl fmt::Display for TokenUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chars => f.write_str("chars"),
            Self::Words => f.write_str("words"),
            Self::Bpe(size) => write!(f, "bpe:{size}"),
            Self::Unigram(size) => write!(f, "unigram:{size}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for TokenUnit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let size = |size: &str| size.parse().ok();
        match name.split_once(':') {
            None if name == "chars" => Some(Self::Chars),
            None if name == "words" => Some(Self::Words),
            Some(("bpe", text)) => size(text).map(Self::Bpe),
            Some(("unigram", text)) => size(text).map(Self::Unigram),
            _ => name.ends_with(".json").then(|| Self::File(name.into())),
        }
        .ok_or_else(|| {
            let known = "`chars`, `words`, `bpe:8000`, `unigram:8000` or the path of a tokenizer.json";
            Error::data("token unit", format!("`{name}` is not one; use {known}"))
        })
    }
}

impl TryFrom<String> for TokenUnit {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<TokenUnit> for String {
    fn from(unit: TokenUnit) -> Self {
        unit.to_string()
    }
}

/// The limits of a vocabulary that is made from texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocabularyLimits {
    /// The most characters or words, the specials included; the rarest become `<unk>`.
    pub max_size: Option<usize>,
    /// Characters and words that the texts have fewer times become `<unk>`; pairs of subwords that stand together fewer times
    /// become no token of their own.
    pub min_count: u64,
}

impl Default for VocabularyLimits {
    /// None.
    fn default() -> Self {
        Self { max_size: None, min_count: 1 }
    }
}

/// The tokens of `texts` in the order of their ids: the specials, then by frequency (descending), then by code point.
///
/// Words that look like a special token are left out: they are text, and a second entry of that name would shadow the special
/// one.
pub fn rank<'a>(unit: &TokenUnit, texts: impl Iterator<Item = &'a str>, limits: VocabularyLimits) -> Vec<String> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for piece in texts.flat_map(|text| unit.split(text)) {
        *counts.entry(piece).or_default() += 1;
    }
    for special in SPECIALS {
        if let Some(count) = counts.remove(special) {
            tracing::warn!("{count} words of the text are `{special}`, a special token: they are read as unknown ones");
        }
    }
    let mut ranked: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= limits.min_count).collect();
    // UTF-8 keeps the order of code points, so comparing strings compares those.
    ranked.sort_unstable_by_key(|&(token, count)| (Reverse(count), token));
    let room = limits.max_size.map_or(ranked.len(), |size| size.saturating_sub(SPECIALS.len()));
    SPECIALS.into_iter().chain(ranked.into_iter().map(|(token, _)| token).take(room)).map(str::to_owned).collect()
}
