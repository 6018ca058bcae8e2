//! Unknown words: Luong et al., "Addressing the Rare Word Problem in Neural Machine Translation" (2015), section 3, with
//! attention in place of their position tokens, and no dictionary.

use super::Hypothesis;
use crate::{Result, model::Model, text::UNKNOWN};

/// The text of a hypothesis that was searched for with [`super::SearchOptions::attended`], each `<unk>` in it replaced by the
/// token of `source` that it attended to most, or the word that this is a part of. One that attended to the source's end stays.
///
/// # Errors
/// [`crate::Error::Data`] for a source that the tokenizer refuses.
pub fn replace_unknown(model: &Model, source: &str, hypothesis: &Hypothesis) -> Result<String> {
    let text = model.target.decode(&hypothesis.tokens);
    let words = model.source.copies(source)?;
    let unknown = model.network.limits().specials.unk;
    let attended = hypothesis.tokens.iter().zip(&hypothesis.attended).filter(|(token, _)| **token == unknown);
    let mut replacements = attended.map(|(_, position)| words.get(*position as usize).map_or(UNKNOWN, String::as_str));
    let mut parts = text.split(UNKNOWN);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        replaced.push_str(replacements.next().unwrap_or(UNKNOWN));
        replaced.push_str(part);
    }
    Ok(replaced)
}
