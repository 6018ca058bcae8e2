//! The rules by which a search chooses tokens.

use serde::Deserialize;

/// The choice of tokens for the rows of a sentence at a step. Padding is never chosen, nor is the token that begins a text, unless
/// it ends texts too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The best `beam` continuations that do not end become the sentence's hypotheses; of equal ones the smaller (parent,
    /// token). Those that end, and are among the best `beam` of all, compete for the best `beam` texts by their score over
    /// [`length_penalty`] plus their coverage penalty; the last step ends all. A sentence is done when no hypothesis can become
    /// better than the `asked` best of its texts. With a beam of 1 each row takes its likeliest token until it ends.
    Best {
        /// Alpha, 0 or more.
        length_penalty: f32,
        /// Texts that are asked for, 1 to `beam`.
        asked: usize,
    },
    /// Each row continues by itself with a token drawn at random.
    Sample(Sampling),
}

/// The distribution of drawn tokens: softmax(logits / temperature), cut to the `top_k` likeliest, and then to the fewest that
/// hold `top_p` of the remaining probability (Holtzman et al. 2020, section 3.1). Ties with the last token kept are kept too.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// From 0.01 to 100.
    pub temperature: f32,
    /// 0: no cut.
    pub top_k: usize,
    /// Over 0, up to 1: no cut.
    pub top_p: f32,
}

/// The model's own distribution.
impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// lp(Y) of Wu et al. (2016, section 7), equation 14, for a text of `length` tokens, its end included.
pub fn length_penalty(alpha: f32, length: usize) -> f32 {
    ((5.0 + length as f32) / 6.0).powf(alpha)
}

impl Rule {
    /// Whether the rule is valid, what it should have, and the wrong value.
    pub(super) fn check(&self, beam: usize) -> (bool, &'static str, f64) {
        match *self {
            Self::Best { length_penalty, .. } if !(length_penalty >= 0.0 && length_penalty.is_finite()) => {
                (false, "a length penalty from 0 on", length_penalty.into())
            }
            Self::Best { asked, .. } => ((1..=beam).contains(&asked), "1 to `beam` texts asked for", asked as f64),
            Self::Sample(Sampling { temperature, .. }) if !(0.01..=100.0).contains(&temperature) => {
                (false, "a temperature from 0.01 to 100", temperature.into())
            }
            Self::Sample(Sampling { top_p, .. }) => {
                (top_p > 0.0 && top_p <= 1.0, "a top_p over 0, up to 1", top_p.into())
            }
        }
    }
}
