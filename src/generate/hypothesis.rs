//! Hypotheses: the results of a search.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One text that the search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Target tokens, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' log-probabilities, `<eos>` included, over the length penalty, plus the coverage penalty.
    #[serde(serialize_with = "as_bits", deserialize_with = "of_bits")]
    pub score: f32,
    /// Whether it ended with `<eos>` rather than at the longest length.
    pub finished: bool,
    /// The source position that each token attended to most, where [`super::SearchOptions::attended`] asks for them; else
    /// empty.
    pub attended: Vec<u32>,
}

/// By its bits, which JSON has for every number.
fn as_bits<S: Serializer>(score: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    score.to_bits().serialize(serializer)
}

fn of_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    u32::deserialize(deserializer).map(f32::from_bits)
}
