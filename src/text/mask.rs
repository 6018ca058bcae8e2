//! The token that stands in place of those that an encoder is to find (Devlin et al., "BERT", 2019, section 3.1).

use tokenizers::{
    AddedToken, AddedVocabulary, Encoding, Model as _, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _, Token, Tokenizer, normalizer::Range,
};

use super::subwords::SPACE;

/// The names that it has in the vocabularies there are: BERT's, and RoBERTa's.
const NAMES: [&str; 2] = ["[MASK]", "<mask>"];

/// The sign that byte-level vocabularies have for a space.
const BYTE_SPACE: char = 'Ġ';

/// The id of that of a vocabulary, if it has one.
pub(super) fn of(tokenizer: &Tokenizer) -> Option<u32> {
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let found = added.iter().find(|(_, token)| token.special && NAMES.contains(&token.content.as_str()));
    found.map(|(id, _)| *id)
}

/// Adds such a token to a vocabulary, behind all others. The space before it is its own where other tokens have it, too.
///
/// # Errors
/// Those of the tokenizers crate.
pub(super) fn add(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let [name, _] = NAMES;
    let has_space = |token: &String| token.strip_prefix([SPACE, BYTE_SPACE]).is_some_and(|rest| !rest.is_empty());
    let spaces = tokenizer.get_vocab(false).keys().any(has_space);
    tokenizer.add_special_tokens([AddedToken::from(name, true).lstrip(spaces)])?;
    Ok(())
}

/// The tokens of a text that has `mask` by its name; other special tokens are text there, as they are everywhere.
///
/// # Errors
/// Those of the tokenizers crate.
pub(super) fn read(tokenizer: &Tokenizer, mask: u32, text: &str) -> tokenizers::Result<Encoding> {
    let (model, normalizer) = (tokenizer.get_model(), tokenizer.get_normalizer());
    let mut added: Vec<_> = tokenizer.get_added_vocabulary().get_added_tokens_decoder().iter().collect();
    added.sort_unstable_by_key(|(id, _)| **id);
    let added = added.into_iter().map(|(id, token)| token.clone().special(token.special && *id != mask));
    let mut vocabulary = AddedVocabulary::new();
    vocabulary.add_tokens(added, model, normalizer)?;
    vocabulary.set_encode_special_tokens(true);
    let mut parts = vocabulary.extract_and_normalize(normalizer, text);
    if let Some(cut) = tokenizer.get_pre_tokenizer() {
        cut.pre_tokenize(&mut parts)?;
        join(&mut parts, mask, text)?;
    }
    parts.tokenize(|part| model.tokenize(part.get()))?;
    parts.into_encoding(None, 0, OffsetType::Byte)
}

/// Takes the sign of a space from what stands behind a mask without one: there a word goes on, whatever else begins with that sign.
fn join(parts: &mut PreTokenizedString, mask: u32, text: &str) -> tokenizers::Result<()> {
    let is_mask = |tokens: &Option<Vec<Token>>| tokens.iter().flatten().any(|token| token.id == mask);
    let all = parts.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter();
    let ends: Vec<usize> = all.filter(|(.., tokens)| is_mask(tokens)).map(|(_, (_, end), _)| end).collect();
    let is_space = |c: char| c.is_whitespace() || c == SPACE;
    parts.split(|_, part| {
        let (start, _) = part.offsets_original();
        let around = text.split_at_checked(start).filter(|_| ends.contains(&start));
        let joined = around.is_some_and(|(before, rest)| !before.ends_with(is_space) && !rest.starts_with(is_space));
        // What the text itself has there is no sign.
        let is_sign =
            |c: &char| [SPACE, BYTE_SPACE].contains(c) && !around.is_some_and(|(_, rest)| rest.starts_with(*c));
        let sign = part.get().chars().next().filter(|sign| joined && is_sign(sign));
        let bare = sign.and_then(|sign| part.slice(Range::Normalized(sign.len_utf8()..)));
        Ok([bare.unwrap_or(part)])
    })
}
