//! Vocabularies of bytes, and of bytes that stand together often (Radford et al., "Language Models are Unsupervised Multitask
//! Learners", 2019, section 2.2): every text has tokens, and all its white space is in them.

use std::collections::BTreeMap;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
    PreTokenizerWrapper, Tokenizer, Trainer as _,
};

use super::SPECIALS;
use crate::{Error, Result};

/// The vocabulary that has no token of several bytes.
pub(super) const LEAST: usize = 256 + SPECIALS.len();
/// The largest vocabulary of a model.
const LARGEST: usize = 1 << 24;
/// A pair of tokens that stand together only once is no pattern.
const LEAST_PAIRS: u64 = 2;

/// Trains a vocabulary of at most `size` tokens, the specials and every byte included.
///
/// # Errors
/// [`Error::Data`] for a size without room for every byte.
pub(super) fn train<'a>(texts: impl Iterator<Item = &'a str>, size: usize, min_count: u64) -> Result<Tokenizer> {
    if !(LEAST..=LARGEST).contains(&size) {
        let message = format!("a size of {size} is not from {LEAST}, every byte and the special tokens, to {LARGEST}");
        return Err(Error::data("vocabulary", message));
    }
    let failed = |source: tokenizers::Error| Error::data("vocabulary", source.to_string());
    // Sums of numbers depend on how threads share the work; with one thread they do not.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Error::data("vocabulary", error.to_string()))?;
    let words = count(texts).map_err(failed)?;
    pool.install(|| assemble(words, size, min_count)).map_err(failed)
}

/// The count of each word, a space before it included, in the signs that stand for bytes.
fn count<'a>(texts: impl Iterator<Item = &'a str>) -> tokenizers::Result<BTreeMap<String, u64>> {
    let mut words = BTreeMap::new();
    for text in texts {
        let mut text = PreTokenizedString::from(text);
        cut().pre_tokenize(&mut text)?;
        for (word, ..) in text.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    Ok(words)
}

fn cut() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

fn assemble(words: BTreeMap<String, u64>, size: usize, min_count: u64) -> tokenizers::Result<Tokenizer> {
    let specials = || SPECIALS.map(|token| AddedToken::from(token, true));
    // The trainer makes room for all of them at once, and every merge shortens a word.
    let most = words.keys().map(|word| word.chars().count()).sum::<usize>() + LEAST;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size.min(most))
        .min_frequency(min_count.max(LEAST_PAIRS))
        .special_tokens(specials().into())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let texts = words.iter().flat_map(|(word, count)| std::iter::repeat_n(word, *count as usize));
    trainer.feed(texts, |word| Ok(vec![word.to_owned()]))?;
    let mut model = BPE::default();
    trainer.train(&mut model)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(cut())));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(cut())));
    tokenizer.add_special_tokens(specials())?;
    Ok(tokenizer)
}
