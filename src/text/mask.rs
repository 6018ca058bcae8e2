//! The token that stands in place of those that an encoder is to find (Devlin et al., "BERT", 2019, section 3.1).

use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

/// The names that it has in the vocabularies there are: BERT's, and RoBERTa's.
const NAMES: [&str; 2] = ["[MASK]", "<mask>"];

/// A vocabulary's token for what is to be found.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    pub id: u32,
    pub name: String,
    /// Whether the space before it is its own, as it is the following token's where tokens keep white space.
    takes_space: bool,
}

impl Mask {
    /// That of a vocabulary, if it has one.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let found = added.iter().find(|(_, token)| token.special && NAMES.contains(&token.content.as_str()));
        found.map(|(id, token)| Self { id: *id, name: token.content.clone(), takes_space: token.lstrip })
    }

    /// The texts before, between and behind the places where a text has it.
    pub fn parts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut parts: Vec<_> = text.split(self.name.as_str()).collect();
        if let Some((_, before)) = parts.split_last_mut().filter(|_| self.takes_space) {
            before.iter_mut().for_each(|part| *part = part.trim_end());
        }
        parts
    }
}

/// Adds such a token to a vocabulary, behind all others.
///
/// # Errors
/// Those of the tokenizers crate.
pub(super) fn add(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let [name, _] = NAMES;
    let characters = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::Split(_)));
    tokenizer.add_special_tokens([AddedToken::from(name, true).lstrip(!characters)])?;
    Ok(())
}
