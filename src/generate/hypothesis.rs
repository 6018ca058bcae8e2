//! Hypotheses: the results of a search.

/// One text that the search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// Target tokens, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' log-probabilities, `<eos>` included, over the length penalty, plus the coverage penalty.
    pub score: f32,
    /// Whether it ended with `<eos>` rather than at the longest length.
    pub finished: bool,
    /// The source position that each token attended to most, where [`super::SearchOptions::attended`] asks for them; else
    /// empty.
    pub attended: Vec<u32>,
}
