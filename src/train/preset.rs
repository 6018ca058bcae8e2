//! Recipes that were found good for a kind of data.

use std::{fmt, str::FromStr};

use super::{Budget, Data, Decay, Metric, Schedule, TrainOptions};
use crate::{Error, Result, text::TokenUnit};

/// A recipe for data of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The letters of a word to its phones, which are separated by spaces; for 100,000 words or so.
    G2p,
    /// A language to another one, in some ten thousand sentences of everyday words, separated by spaces.
    TranslateSmall,
}

impl Preset {
    /// Every preset, in the order that messages list them.
    pub const ALL: [Self; 2] = [Self::G2p, Self::TranslateSmall];

    /// The options and the budget of the recipe, for some data.
    pub fn recipe(self, data: Data) -> (TrainOptions, Budget) {
        let epochs = match self {
            Self::G2p => 20,
            Self::TranslateSmall => 16,
        };
        let decay = Decay::Linear { epochs };
        let defaults = TrainOptions::new(data);
        let options = match self {
            Self::G2p => TrainOptions {
                source_unit: TokenUnit::Chars,
                target_unit: TokenUnit::Words,
                batch: 128,
                learning_rate: 2e-3,
                schedule: Schedule { warmup: 400, decay },
                weight_decay: 0.01,
                label_smoothing: 0.1,
                dropout: 0.2,
                embedding: 128,
                hidden: 256,
                ema: Some(0.999),
                group_references: true,
                ..defaults
            },
            Self::TranslateSmall => TrainOptions {
                source_unit: TokenUnit::Bpe(4_000),
                target_unit: TokenUnit::Bpe(4_000),
                batch: 64,
                learning_rate: 1.5e-3,
                schedule: Schedule { warmup: 400, decay },
                weight_decay: 0.01,
                label_smoothing: 0.1,
                dropout: 0.2,
                tie_embeddings: true,
                ema: Some(0.999),
                embedding: 256,
                hidden: 256,
                metric: Metric::Bleu,
                ..defaults
            },
        };
        (options, Budget { epochs: Some(epochs), ..Budget::default() })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::G2p => "g2p",
            Self::TranslateSmall => "translate-small",
        })
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|preset| preset.to_string() == name).ok_or_else(|| {
            let known = Self::ALL.map(|preset| preset.to_string()).join(", ");
            Error::data("preset", format!("`{name}` is not one; known presets: {known}"))
        })
    }
}
