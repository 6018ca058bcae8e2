//! The metric that decides which model of a run is the best.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Validated;
use crate::{Error, Result};

/// A figure of a validation by which models are compared: for the best one, for patience, for a plateau of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of sources that are answered exactly right; of questions without regard to case, punctuation and articles
    /// ([`crate::text::AnswerScores`]).
    #[default]
    Exact,
    /// Token error rate: word error rate where tokens are words, phoneme error rate where they are phones.
    Per,
    /// Sentence error rate: the share of sources that are not answered exactly right. Runs of 0.1.0 call it `wer`.
    #[serde(alias = "wer")]
    Ser,
    /// Corpus BLEU.
    Bleu,
    /// Corpus chrF2.
    Chrf,
    /// Cross-entropy per token of the references. Runs of 0.1.0 call it `loss`, and so may a name.
    #[serde(alias = "loss")]
    CrossEntropy,
}

/// The values that rank a model: the metric, and the token error rate, which decides between equals; 0 for plain text.
pub type Place = (f64, f64);

impl Metric {
    /// Every metric, in the order that messages list them.
    pub const ALL: [Self; 6] = [Self::Exact, Self::Per, Self::Ser, Self::Bleu, Self::Chrf, Self::CrossEntropy];

    /// The values that rank a model, from its validation.
    pub fn place(self, validated: &Validated) -> Place {
        // A checkpoint holds no infinities: they are no JSON.
        let cross_entropy = validated.cross_entropy.clamp(0.0, f64::MAX);
        let Some(scores) = &validated.scores else { return (cross_entropy, 0.0) };
        let value = match self {
            Self::Exact => scores.exact_match,
            Self::Per => scores.token_error_rate,
            Self::Ser => scores.sentence_error_rate,
            Self::Bleu => scores.bleu,
            Self::Chrf => scores.chrf,
            Self::CrossEntropy => cross_entropy,
        };
        (value, scores.token_error_rate)
    }

    /// Whether `one` is better than `other`.
    pub fn is_better(self, one: Place, other: Place) -> bool {
        let sign = if self.is_error() { -1.0 } else { 1.0 };
        (sign * one.0, -one.1) > (sign * other.0, -other.1)
    }

    /// Whether less is better.
    fn is_error(self) -> bool {
        matches!(self, Self::Per | Self::Ser | Self::CrossEntropy)
    }

    /// A value with its name and unit, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Exact => format!("exact match {value:.2} %"),
            Self::Per => format!("token error rate {value:.2} %"),
            Self::Ser => format!("sentence error rate {value:.2} %"),
            Self::Bleu => format!("BLEU {value:.2}"),
            Self::Chrf => format!("chrF {value:.2}"),
            Self::CrossEntropy => format!("cross-entropy {value:.4}"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Per => "per",
            Self::Ser => "ser",
            Self::Bleu => "bleu",
            Self::Chrf => "chrf",
            Self::CrossEntropy => "cross-entropy",
        })
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = |metric: &Self| metric.to_string() == name || (*metric == Self::CrossEntropy && name == "loss");
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let known = Self::ALL.map(|metric| metric.to_string()).join(", ");
            Error::data("metric", format!("`{name}` is not a metric; known metrics: {known}"))
        })
    }
}
