//! The likelihood of masked tokens under an encoder.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{Generator, Likelihood};
use crate::{
    Result,
    model::Model,
    text::{Masking, encode_plain},
};

/// The likelihood of the tokens of a text that were masked, in windows of the model's `max_length`, given all others of their window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MaskedEvaluation {
    /// Tokens of the text.
    pub tokens: usize,
    /// Tokens that were to be found: 15 %, as in training.
    pub masked: usize,
    /// The natural logarithm of their probability.
    pub log_probability: f64,
    /// The exponential of the mean loss per masked token.
    pub perplexity: f64,
    /// The same loss in bits.
    pub bits_per_token: f64,
}

/// Scores a text by `generator`'s models together, its masks drawn from `seed`; `model` is the first of them, for its tokens.
///
/// # Errors
/// [`crate::Error::Data`] for a text that the tokenizer refuses, or a model without a mask; the errors of the device.
pub fn evaluate_masked(generator: &Generator, model: &Model, text: &str, seed: u64) -> Result<MaskedEvaluation> {
    let tokens = encode_plain(text, &model.source)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let windows = Masking::new(&model.source)?.windows(&tokens, generator.longest(), 0, &mut random);
    let mut all = Likelihood::default();
    generator.scorer().score_in_parts(&windows, |part| {
        part.iter().for_each(|one| all += *one);
        Ok(())
    })?;
    Ok(MaskedEvaluation {
        tokens: tokens.len(),
        masked: all.tokens,
        log_probability: all.log_probability,
        perplexity: all.perplexity(),
        bits_per_token: all.bits_per_token(),
    })
}
