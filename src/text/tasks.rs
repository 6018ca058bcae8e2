//! Tasks that need no data: pairs generated from a seed.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};
use super::{Pair, TokenUnit, dates, numbers, opinions, stories};
use crate::{Error, Result};

/// A built-in task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Digits to English words, 0 to 999,999 ([`numbers`]).
    Numbers,
    /// Written dates to ISO 8601 and back ([`dates`]).
    Dates,
    /// What people say of things to what they think of them ([`opinions`]).
    Opinions,
    /// Questions about what people do, each over a story that has the answer ([`stories`]).
    Stories,
}

/// The data of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskData {
    /// [`TRAIN_PAIRS`] training pairs.
    pub train: Vec<Pair>,
    /// [`VALID_PAIRS`] validation pairs with distinct sources.
    pub valid: Vec<Pair>,
    /// The unit of source tokens.
    pub source_unit: TokenUnit,
    /// The unit of target tokens.
    pub target_unit: TokenUnit,
}

impl Task {
    /// Every task, in the order that messages list them.
    pub const ALL: [Self; 4] = [Self::Numbers, Self::Dates, Self::Opinions, Self::Stories];

    /// The pairs of this task; the same seed gives the same pairs, in the same order, everywhere.
    pub fn generate(self, seed: u64) -> TaskData {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (train, valid) = match self {
            Self::Numbers => numbers::generate(&mut rng),
            Self::Dates => dates::generate(&mut rng),
            Self::Opinions => opinions::generate(&mut rng),
            Self::Stories => stories::generate(&mut rng),
        };
        let [source_unit, target_unit] = self.units();
        TaskData { train, valid, source_unit, target_unit }
    }

    /// The units of source and target tokens.
    pub fn units(self) -> [TokenUnit; 2] {
        match self {
            // Number words stay whole ("thirty-four" is one token): about a hundred tokens, and short targets.
            Self::Numbers => [TokenUnit::Chars, TokenUnit::Words],
            Self::Dates => [TokenUnit::Chars, TokenUnit::Chars],
            Self::Opinions | Self::Stories => [TokenUnit::Words, TokenUnit::Words],
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Numbers => "numbers",
            Self::Dates => "dates",
            Self::Opinions => "opinions",
            Self::Stories => "stories",
        })
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|task| task.to_string() == name).ok_or_else(|| {
            let known = Self::ALL.map(|task| task.to_string()).join(", ");
            Error::data("task", format!("`{name}` is not a built-in task; known tasks: {known}"))
        })
    }
}
