//! Learning rates by the names of parameters.

use std::{fmt, str::FromStr};

use glob::Pattern;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, names::setting};

/// The share of the learning rate at which parameters are trained whose names match a pattern; at 0 they are frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// The names, as shells match them: `*` is any text, `?` any character, `[0-3]` one of some.
    pub(super) pattern: Pattern,
    /// The share of the learning rate, from 0 on.
    pub(super) factor: f32,
}

impl Rate {
    /// The rule that freezes parameters.
    ///
    /// # Errors
    /// [`Error::Data`] for what is no pattern.
    pub fn frozen(pattern: &str) -> Result<Self> {
        Self::new(pattern, 0.0)
    }

    fn new(pattern: &str, factor: f32) -> Result<Self> {
        let wrong = |error: glob::PatternError| Error::data(setting("rate"), format!("`{pattern}`: {error}"));
        Ok(Self { pattern: Pattern::new(pattern).map_err(wrong)?, factor })
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::data(setting("rate"), format!("`{text}` is no PATTERN=FACTOR with a factor from 0 on"));
        let (pattern, factor) = text.rsplit_once('=').ok_or_else(wrong)?;
        let factor = factor.parse().ok().filter(|factor: &f32| *factor >= 0.0 && factor.is_finite());
        Self::new(pattern, factor.ok_or_else(wrong)?)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.factor)
    }
}

impl TryFrom<String> for Rate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}
