//! Vocabularies of subwords, trained on a corpus by the `tokenizers` crate.
//!
//! Words are what stands between white space, each written with a `▁` before it, as SentencePiece does (Kudo &
//! Richardson, "SentencePiece", 2018, section 3.2); subwords never cross from one word into the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::{Replace, Sequence, Strip, replace::ReplacePattern};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer, Trainer as _,
};

use super::{SPECIALS, UNK, UNKNOWN};
use crate::{Error, Result};

/// The sign for the space before a word. In a text it is read as a space.
pub(super) const SPACE: char = '▁';
/// The separators of [`split`]; without `\u`, which regular expressions write in more ways than one.
const SPACES: &str = "[\\s▁]+";
/// A pair of subwords that stand together only once is no pattern.
const LEAST_PAIRS: u64 = 2;
/// The largest vocabulary of a model.
const LARGEST: usize = 1 << 24;
/// Longer words are cut for training: what they teach does not depend on it, and the time and memory do.
const LONGEST_WORD: usize = 256;

/// About how many words unigrams are learnt from: more take longer, and change little.
const EXAMPLES: u64 = 200_000;

/// The method that makes subwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Byte-pair encoding (Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword units",
    /// 2016, section 3.2).
    Bpe,
    /// A unigram language model (Kudo, "Subword regularization", 2018, section 3.2).
    Unigram,
}

/// Trains a vocabulary of at most `size` tokens, the specials and every character of the texts included.
///
/// The same texts, in any order, give the same vocabulary. Characters that they have fewer than `min_count` times are left out, and
/// byte pairs that stand together fewer times become no token.
///
/// # Errors
/// [`Error::Data`] where the texts hold nothing, or more characters than `size` has room for.
pub(super) fn train<'a>(
    method: Method,
    texts: impl Iterator<Item = &'a str>,
    size: usize,
    min_count: u64,
) -> Result<Tokenizer> {
    let words = without_rare(count(texts), min_count);
    let characters: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    if characters.is_empty() {
        return Err(Error::data("vocabulary", "the text holds no subwords to learn; give it text"));
    }
    let least = characters.len() + SPECIALS.len() + 1;
    if size < least {
        let message = format!(
            "a size of {size} is too small: the text has {} characters, and each is a token; allow {least} or more",
            characters.len()
        );
        return Err(Error::data("vocabulary", message));
    }
    if size > LARGEST {
        let message = format!("a size of {size} is more than any model takes; allow at most {LARGEST}");
        return Err(Error::data("vocabulary", message));
    }
    let failed = |source: tokenizers::Error| Error::data("vocabulary", source.to_string());
    // Sums of numbers depend on how threads share the work; with one thread they do not.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| Error::data("vocabulary", error.to_string()))?;
    let model: ModelWrapper = match method {
        Method::Bpe => pool.install(|| bpe(words, size, min_count)).map_err(failed)?.into(),
        Method::Unigram => pool.install(|| unigram(words, size)).map_err(failed)?.into(),
    };
    assemble(model).map_err(failed)
}

/// The count of each word, its `▁` included.
fn count<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<String, u32> {
    let mut words = BTreeMap::new();
    for word in texts.flat_map(split) {
        let word: Vec<char> = std::iter::once(SPACE).chain(word.chars()).collect();
        for part in word.chunks(LONGEST_WORD) {
            let count: &mut u32 = words.entry(part.iter().collect()).or_default();
            *count = count.saturating_add(1);
        }
    }
    words
}

/// Words without the characters that they have, all together, fewer than `least` times: what is between those.
fn without_rare(words: BTreeMap<String, u32>, least: u64) -> BTreeMap<String, u32> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in &words {
        word.chars().for_each(|c| *counts.entry(c).or_default() += u64::from(*count));
    }
    if counts.values().all(|count| *count >= least) {
        return words;
    }
    let is_rare = |c: char| counts.get(&c).is_some_and(|count| *count < least);
    let mut parts = BTreeMap::new();
    for (word, count) in &words {
        for part in word.split(is_rare).filter(|part| !part.is_empty()) {
            let sum: &mut u32 = parts.entry(part.to_owned()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    parts
}

/// The words of a text.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == SPACE).filter(|word| !word.is_empty())
}

fn specials() -> Vec<AddedToken> {
    SPECIALS.map(|token| AddedToken::from(token, true)).into()
}

fn bpe(words: BTreeMap<String, u32>, size: usize, min_count: u64) -> tokenizers::Result<BPE> {
    // The trainer makes room for all of them at once, and every merge shortens a word.
    let most = words.keys().map(|word| word.chars().count()).sum::<usize>() * 2 + SPECIALS.len();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size.min(most))
        .min_frequency(min_count.max(LEAST_PAIRS))
        .special_tokens(specials())
        .show_progress(false)
        .build();
    let texts = words.iter().flat_map(|(word, count)| std::iter::repeat_n(word, *count as usize));
    trainer.feed(texts, |word| Ok(vec![word.to_owned()]))?;
    let mut model = BPE::builder().unk_token(UNKNOWN.to_owned()).fuse_unk(true).build()?;
    trainer.train(&mut model)?;
    Ok(model)
}

fn unigram(words: BTreeMap<String, u32>, size: usize) -> tokenizers::Result<Unigram> {
    let trainer = UnigramTrainer::builder()
        .vocab_size(u32::try_from(size + size / 10)?)
        .special_tokens(specials())
        .unk_token(Some(UNKNOWN.to_owned()))
        .show_progress(false)
        .build()?;
    let mut model = Unigram::default();
    trainer.do_train(examples(words), &mut model)?;
    Unigram::from(best(&model, size), Some(UNK as usize), false)
}

/// The words in the form from which the trainer finds the right pieces to begin with.
///
/// The trainer counts runs of characters in its input without regard to the count given with a word: so a word is given as
/// often as it occurs, or its share of [`EXAMPLES`]. It finds only runs that have different characters after them, which a
/// word that begins no other never would be, however frequent: so each word that is more than a rarity is given once more,
/// with something after it that no piece of a text has. And its suffix array is wrong where the same words come again and
/// again for long, as they would in order: so they are shuffled.
fn examples(words: BTreeMap<String, u32>) -> Vec<(String, u32)> {
    let all: u64 = words.values().map(|count| u64::from(*count)).sum();
    let share = u32::try_from(all.div_ceil(EXAMPLES)).unwrap_or(u32::MAX).max(1);
    let examples = words.into_iter().flat_map(|(word, count)| {
        let longer = Some(format!("{word}{SPACE}")).filter(|_| u64::from(count) >= LEAST_PAIRS);
        longer.into_iter().chain(std::iter::repeat_n(word, count.div_ceil(share) as usize))
    });
    let mut examples: Vec<_> = examples.map(|word| (word, 1)).collect();
    examples.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    examples
}

/// The likeliest pieces that a text can have, and every character, in an order and with scores that do not depend on a
/// hash map's.
///
/// Characters too rare for a score of their own are given, in the order of such a map, the lowest score plus 0.0001 for
/// each before them. Here all of them have the lowest.
fn best(model: &Unigram, size: usize) -> Vec<(String, f64)> {
    let mut pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    let mut kept: Vec<_> = pieces.drain(..SPECIALS.len()).collect();
    // No word has anything before its `▁`.
    pieces.retain(|(piece, _)| !piece.chars().skip(1).any(|c| c == SPACE));
    let (mut characters, mut longer): (Vec<_>, Vec<_>) =
        pieces.into_iter().partition(|(piece, _)| piece.chars().nth(1).is_none());
    let scores = characters.iter().chain(&longer).map(|(_, score)| *score);
    let lowest = scores.fold(f64::INFINITY, f64::min);
    let rare = lowest + 0.0001 * characters.len() as f64;
    for (_, score) in characters.iter_mut().filter(|(_, score)| *score <= rare) {
        *score = lowest;
    }
    let by_score = |(a, x): &(String, f64), (b, y): &(String, f64)| y.total_cmp(x).then_with(|| a.cmp(b));
    longer.sort_by(by_score);
    longer.truncate(size.saturating_sub(kept.len() + characters.len()));
    characters.append(&mut longer);
    characters.sort_by(by_score);
    kept.append(&mut characters);
    kept
}

/// A tokenizer that cuts texts as the model was trained, and puts the spaces back.
fn assemble(model: ModelWrapper) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(model);
    let spaces = Replace::new(ReplacePattern::Regex(SPACES.to_owned()), " ")?;
    let normalizers =
        vec![NormalizerWrapper::Replace(spaces), NormalizerWrapper::StripNormalizer(Strip::new(true, true))];
    tokenizer.with_normalizer(Some(NormalizerWrapper::Sequence(Sequence::new(normalizers))))?;
    let space = Metaspace::new(SPACE, PrependScheme::Always, true);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Metaspace(space.clone())));
    tokenizer.with_decoder(Some(DecoderWrapper::Metaspace(space)));
    tokenizer.add_special_tokens(specials())?;
    Ok(tokenizer)
}
