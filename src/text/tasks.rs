//! Tasks that need no data: pairs generated from a seed.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};
use super::{Pair, TokenUnit, dates, numbers};
use crate::{Error, Result};

/// A built-in task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Digits to English words, 0 to 999,999 ([`numbers`]).
    Numbers,
    /// Written dates to ISO 8601 and back ([`dates`]).
    Dates,
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
    pub const ALL: [Self; 2] = [Self::Numbers, Self::Dates];

    /// The pairs of this task; the same seed gives the same pairs, in the same order, everywhere.
    pub fn generate(self, seed: u64) -> TaskData {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (train, valid) = match self {
            Self::Numbers => numbers::generate(&mut rng),
            Self::Dates => dates::generate(&mut rng),
        };
        // Number words stay whole ("thirty-four" is one token): about a hundred tokens, and short targets.
        let target_unit = if self == Self::Numbers { TokenUnit::Words } else { TokenUnit::Chars };
        TaskData { train, valid, source_unit: TokenUnit::Chars, target_unit }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Numbers => "numbers",
            Self::Dates => "dates",
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
