//! Vocabularies listed token by token: characters, words or whole texts.

use std::collections::HashSet;

use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::vocabulary::{self, TokenUnit, VocabularyLimits, escape};
use super::{SPECIALS, Specials, Tokenizer, UNKNOWN, escaped};
use crate::{Error, Result};

/// Every Unicode scalar, newlines too. Not `(?s).`: Oniguruma, which Hugging Face's Python package uses, reads `(?s)`
/// in another way than Rust's engines do.
const ANY_SCALAR: &str = r"[\s\S]";

impl Tokenizer {
    /// A vocabulary of these characters, words or whole texts, whose places are their ids, with its own special tokens among them.
    ///
    /// # Errors
    /// [`Error::Data`] for another unit, a token that is there twice, and a special token of no place.
    pub fn listed(unit: &TokenUnit, tokens: Vec<String>, specials: Specials) -> Result<Self> {
        let wrong = |message: String| Error::data("vocabulary", message);
        if !matches!(unit, TokenUnit::Chars | TokenUnit::Words | TokenUnit::Whole) {
            return Err(wrong(format!("a list of tokens is of `chars`, `words` or `whole`, and not of `{unit}`")));
        }
        let mut seen = HashSet::new();
        if let Some(token) = tokens.iter().find(|token| !seen.insert(token.as_str())) {
            return Err(wrong(format!("the token `{}` is there twice", escaped(token))));
        }
        let Specials { pad, bos, eos, unk } = specials;
        let no_place = [pad, bos, eos, unk].into_iter().find(|id| *id != u32::MAX && *id as usize >= tokens.len());
        if let Some(id) = no_place {
            return Err(wrong(format!("a special token has id {id}, and there are {} tokens", tokens.len())));
        }
        Self::build(unit, tokens, specials).map_err(|source| wrong(source.to_string()))
    }

    /// A vocabulary of the names of classes, in their order.
    ///
    /// # Errors
    /// [`Error::Data`] for two of the same name.
    pub fn of_classes(names: &[String]) -> Result<Self> {
        if let Some(name) =
            names.iter().zip(1..).find_map(|(name, next)| names.get(next..)?.contains(name).then_some(name))
        {
            return Err(Error::data("classes", format!("two are called \"{}\"", escaped(name))));
        }
        let specials = SPECIALS.into_iter().map(str::to_owned);
        let all = specials.chain(names.iter().map(|name| escape(name))).collect();
        Self::build(&TokenUnit::Whole, all, Specials::FIRST)
            .map_err(|source| Error::data("classes", source.to_string()))
    }

    pub(super) fn ranked<'a>(
        unit: &TokenUnit,
        texts: impl Iterator<Item = &'a str>,
        limits: VocabularyLimits,
    ) -> Result<Self> {
        if let Some(size) = limits.max_size.filter(|&size| size <= SPECIALS.len()) {
            let message = format!(
                "a size of {size} leaves no room beside the four special tokens; allow {} or more",
                SPECIALS.len() + 1
            );
            return Err(Error::data("vocabulary", message));
        }
        let ranked = vocabulary::rank(unit, texts, limits);
        if ranked.len() == SPECIALS.len() {
            let often = if limits.min_count > 1 { " so often" } else { "" };
            return Err(Error::data("vocabulary", format!("the text holds no {unit}{often} to learn; give it text")));
        }
        Self::build(unit, ranked, Specials::FIRST).map_err(|source| Error::data("vocabulary", source.to_string()))
    }

    /// Assembles the parts that make [`tokenizers`] cut text as `unit` says; the place of a token is its id.
    fn build(unit: &TokenUnit, tokens: Vec<String>, specials: Specials) -> tokenizers::Result<Self> {
        let Specials { pad, bos, eos, unk } = specials;
        let name = |id: u32| tokens.get(id as usize).cloned();
        let special: Vec<_> = [pad, bos, eos, unk].into_iter().filter_map(name).collect();
        let unknown = name(unk).unwrap_or_else(|| UNKNOWN.to_owned());
        let vocab = tokens.into_iter().zip(0..).collect();
        let model = WordLevel::builder().vocab(vocab).unk_token(unknown).build()?;
        let mut inner = tokenizers::Tokenizer::new(model);
        if *unit == TokenUnit::Chars {
            let pattern = SplitPattern::Regex(ANY_SCALAR.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
            inner.with_pre_tokenizer(Some(PreTokenizerWrapper::Split(split)));
            inner.with_decoder(Some(DecoderWrapper::Fuse(Fuse::new())));
        } else if *unit != TokenUnit::Whole {
            // Without a decoder, tokens are joined by one space.
            inner.with_pre_tokenizer(Some(PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit)));
        }
        inner.add_special_tokens(special.into_iter().map(|token| AddedToken::from(token, true)))?;
        Ok(Self::with_specials(inner, specials))
    }
}
