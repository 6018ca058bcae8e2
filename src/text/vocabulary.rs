//! What a token is, and which tokens a vocabulary keeps.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::SPECIALS;
use crate::{Error, Result};

/// What one token of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUnit {
    /// Every Unicode scalar is a token, spaces and newlines included.
    Chars,
    /// Everything between white space is a token.
    Words,
}

impl TokenUnit {
    /// Every unit, in the order that messages list them.
    pub const ALL: [Self; 2] = [Self::Chars, Self::Words];

    /// The pieces of `text`, as written.
    pub fn split(self, text: &str) -> impl Iterator<Item = &str> {
        // One of the two is always empty: cheaper than a boxed iterator, and a single return type.
        let chars = if self == Self::Chars { text } else { "" };
        let words = if self == Self::Words { text } else { "" };
        let scalars = chars.char_indices().filter_map(move |(at, c)| chars.get(at..at + c.len_utf8()));
        scalars.chain(words.split_whitespace())
    }
}

impl fmt::Display for TokenUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chars => "chars",
            Self::Words => "words",
        })
    }
}

impl FromStr for TokenUnit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.to_string() == name)
            .ok_or_else(|| Error::data("token unit", format!("`{name}` is not one; use `chars` or `words`")))
    }
}

/// The tokens of `texts` in the order of their ids: the specials, then by frequency (descending), then by code point.
///
/// `max_size` counts the specials too. Words that look like a special token are left out: they are text, and a
/// second entry of that name would shadow the special one.
pub fn rank<'a>(unit: TokenUnit, texts: impl Iterator<Item = &'a str>, max_size: Option<usize>) -> Vec<String> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for piece in texts.flat_map(|text| unit.split(text)) {
        *counts.entry(piece).or_default() += 1;
    }
    for special in SPECIALS {
        counts.remove(special);
    }
    let mut ranked: Vec<_> = counts.into_iter().collect();
    // UTF-8 keeps the order of code points, so comparing strings compares those.
    ranked.sort_unstable_by_key(|&(token, count)| (Reverse(count), token));
    let room = max_size.map_or(ranked.len(), |size| size.saturating_sub(SPECIALS.len()));
    SPECIALS.into_iter().chain(ranked.into_iter().map(|(token, _)| token).take(room)).map(str::to_owned).collect()
}
