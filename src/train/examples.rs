//! Pairs as token ids, by the kind of answers that a model learns.

use crate::{
    Result,
    model::{Answers, Architecture},
    text::{Example, Pair, Tokenizer, encode_pairs, encode_questions},
};

/// The examples of pairs for a network with these tokenizers of sources and targets; `name` is the file or task they came from, for
/// messages, a pair a line.
///
/// # Errors
/// [`crate::Error::Data`] with the line of a pair that is no example.
pub(super) fn examples(
    network: &dyn Architecture,
    [source, target]: [&Tokenizer; 2],
    name: &str,
    pairs: &[Pair],
) -> Result<Vec<Example>> {
    match network.answers() {
        Answers::Spans => encode_questions(name, pairs, source),
        _ => encode_pairs(name, pairs, source, target, usize::MAX),
    }
}
