//! The tokens that BLEU compares, as sacreBLEU cuts them (Post, "A call for clarity in reporting BLEU scores", 2018): scores are the
//! same only where these are.

use std::{borrow::Cow, fmt, str::FromStr, sync::LazyLock};

use regex::Regex;

use super::segment::is_space;
use crate::{Error, Result};

/// A way to cut a text into the tokens of BLEU, by sacreBLEU's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenization {
    /// Between white space.
    None,
    /// Every character but white space.
    Char,
    /// The rules of NIST's mteval-v13a, which WMT goes by: ASCII punctuation apart, some entities of HTML read.
    Mteval13a,
    /// Every Chinese character apart, and the rest by the rules of 13a without entities.
    Zh,
    /// The rules of mteval-v14's international tokenisation: all of Unicode's punctuation and symbols apart.
    Intl,
}

/// A rule: what it finds, and what it writes in its place.
type Rule = (Regex, &'static str);

#[expect(clippy::expect_used, reason = "the patterns are part of the program, and tests use them")]
fn rule((pattern, replacement): (&str, &'static str)) -> Rule {
    (Regex::new(pattern).expect("a pattern that can be read"), replacement)
}

/// ASCII punctuation, but for full stops and commas within numbers, and dashes that follow none.
static WESTERN: LazyLock<[Rule; 4]> = LazyLock::new(|| {
    [
        (r"[!-\&(-+/:-@\[-`{-\~]", " $0 "),
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ]
    .map(rule)
});

static INTERNATIONAL: LazyLock<[Rule; 3]> =
    LazyLock::new(|| [(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")].map(rule));

/// The characters that sacreBLEU takes for Chinese. The first range is not what its table means: the table's ends 20000 and 2A6D6
/// are written there with four digits, each followed by a digit as text, and so compare as 2000 and 2A6D.
static CHINESE: LazyLock<Rule> = LazyLock::new(|| {
    let ranges = r"\u{2001}-\u{2a6d}\u{2e80}-\u{2fdf}\u{2ff0}-\u{303f}\u{3100}-\u{312f}\u{31a0}-\u{31ef}\u{3200}-\u{4db5}\u{4e00}-\u{9fbb}";
    let compatible =
        r"\u{f900}-\u{fa2d}\u{fa30}-\u{fa6a}\u{fa70}-\u{fad9}\u{fe10}-\u{fe1f}\u{fe30}-\u{fe4f}\u{ff00}-\u{ffef}";
    rule((&format!("[{ranges}{compatible}]"), " $0 "))
});

/// What 13a reads before its rules, in this order.
const MARKUP: [(&str, &str); 7] =
    [("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];

fn apply(text: &str, rules: &[Rule]) -> String {
    rules.iter().fold(text.to_owned(), |text, (pattern, replacement)| match pattern.replace_all(&text, *replacement) {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => text,
    })
}

impl Tokenization {
    /// Every way, in the order that messages list them.
    pub const ALL: [Self; 5] = [Self::None, Self::Char, Self::Mteval13a, Self::Zh, Self::Intl];

    /// The tokens of a text.
    pub fn tokens(self, text: &str) -> Vec<String> {
        let text = text.trim_end_matches(is_space);
        match self {
            Self::None => split(text),
            Self::Char => text.chars().filter(|c| !is_space(*c)).map(String::from).collect(),
            Self::Mteval13a => {
                let read = MARKUP.iter().fold(text.to_owned(), |text, (markup, meant)| text.replace(markup, meant));
                split(&apply(&format!(" {read} "), &*WESTERN))
            }
            Self::Zh => {
                let apart = apply(text.trim_start_matches(is_space), std::slice::from_ref(&*CHINESE));
                split(&apply(&apart, &*WESTERN))
            }
            Self::Intl => split(&apply(text, &*INTERNATIONAL)),
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(is_space).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

impl fmt::Display for Tokenization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Char => "char",
            Self::Mteval13a => "13a",
            Self::Zh => "zh",
            Self::Intl => "intl",
        })
    }
}

impl FromStr for Tokenization {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.to_string() == name).ok_or_else(|| {
            let known = Self::ALL.map(|known| known.to_string()).join(", ");
            Error::data("tokenization", format!("`{name}` is not one; known ones: {known}"))
        })
    }
}
