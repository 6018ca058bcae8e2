//! The likelihood of plain text under a language model.

use serde::Serialize;

use super::{Generator, Likelihood};
use crate::{
    Result,
    model::Model,
    text::{encode_plain, windows},
};

/// The likelihood of a text, each token given those before it in its window of the model's `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlainEvaluation {
    /// Tokens of the text, its `<eos>` included.
    pub tokens: usize,
    /// Bytes of the text.
    pub bytes: usize,
    /// The natural logarithm of the text's probability.
    pub log_probability: f64,
    /// The exponential of the mean loss per token.
    pub perplexity: f64,
    /// The same loss in bits.
    pub bits_per_token: f64,
    /// -log2 of the text's probability, per byte: what models with different tokens can be compared by. With tokens of words or
    /// subwords, which do not keep all white space, that is left out of the probability.
    pub bits_per_byte: f64,
}

/// Scores a text by `generator`'s models together; `model` is the first of them, for its tokens.
///
/// # Errors
/// [`crate::Error::Data`] for a text that the tokenizer refuses, or a model that reads a source; the errors of the device.
pub fn evaluate_plain(generator: &Generator, model: &Model, text: &str) -> Result<PlainEvaluation> {
    let tokens = encode_plain(text, &model.target)?;
    let mut all = Likelihood::default();
    generator.scorer().score_in_parts(&windows(&tokens, generator.longest(), 0), |part| {
        part.iter().for_each(|one| all += *one);
        Ok(())
    })?;
    Ok(PlainEvaluation {
        tokens: all.tokens,
        bytes: text.len(),
        log_probability: all.log_probability,
        perplexity: all.perplexity(),
        bits_per_token: all.bits_per_token(),
        bits_per_byte: all.bits() / text.len().max(1) as f64,
    })
}
