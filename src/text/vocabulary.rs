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
    /// Every byte is a token: `bytes`; or bytes that stand together often, at most 8,000 tokens: `bytes:8000`. White space is kept.
    Bytes(Option<usize>),
    /// The whole text is one token, such as the name of a class: `whole`.
    Whole,
    /// The tokens of a Hugging Face `tokenizer.json`: its path.
    File(PathBuf),
}

impl TokenUnit {
    /// The pieces of `text`, as written, that a vocabulary is made of: scalars, words or the whole.
    pub fn split<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        // All but one are always empty: cheaper than a boxed iterator, and a single return type.
        let (chars, words, whole) = match self {
            Self::Chars => (text, "", None),
            Self::Whole => ("", "", Some(text)),
            _ => ("", text, None),
        };
        let scalars = chars.char_indices().filter_map(move |(at, c)| chars.get(at..at + c.len_utf8()));
        scalars.chain(words.split_whitespace()).chain(whole)
    }
}

impl fmt::Display for TokenUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chars => f.write_str("chars"),
            Self::Words => f.write_str("words"),
            Self::Bpe(size) => write!(f, "bpe:{size}"),
            Self::Unigram(size) => write!(f, "unigram:{size}"),
            Self::Bytes(None) => f.write_str("bytes"),
            Self::Bytes(Some(size)) => write!(f, "bytes:{size}"),
            Self::Whole => f.write_str("whole"),
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
            None if name == "bytes" => Some(Self::Bytes(None)),
            None if name == "whole" => Some(Self::Whole),
            Some(("bpe", text)) => size(text).map(Self::Bpe),
            Some(("unigram", text)) => size(text).map(Self::Unigram),
            Some(("bytes", text)) => size(text).map(|size| Self::Bytes(Some(size))),
            _ => name.ends_with(".json").then(|| Self::File(name.into())),
        }
        .ok_or_else(|| {
            let known =
                "`chars`, `words`, `bytes`, `bpe:8000`, `unigram:8000`, `bytes:8000` or the path of a tokenizer.json";
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
/// A word that is spelled like a special token stands there with a space before it, as no word does.
pub fn rank<'a>(unit: &TokenUnit, texts: impl Iterator<Item = &'a str>, limits: VocabularyLimits) -> Vec<String> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for piece in texts.flat_map(|text| unit.split(text)) {
        *counts.entry(piece).or_default() += 1;
    }
    let mut ranked: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= limits.min_count).collect();
    // UTF-8 keeps the order of code points, so comparing strings compares those.
    ranked.sort_unstable_by_key(|&(token, count)| (Reverse(count), token));
    let room = limits.max_size.map_or(ranked.len(), |size| size.saturating_sub(SPECIALS.len()));
    let words = ranked.into_iter().map(|(word, _)| escape(word)).take(room);
    SPECIALS.map(str::to_owned).into_iter().chain(words).collect()
}

/// The entry of a user's word in a vocabulary: the word itself, and for one that is spelled like a special token a name that no
/// word has, with a space before it.
pub(super) fn escape(word: &str) -> String {
    if SPECIALS.contains(&word) { format!(" {word}") } else { word.to_owned() }
}

/// The word of an entry.
pub(super) fn unescape(entry: String) -> String {
    match entry.strip_prefix(' ') {
        Some(word) if SPECIALS.contains(&word) => word.to_owned(),
        _ => entry,
    }
}
