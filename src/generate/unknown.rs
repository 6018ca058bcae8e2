//! Unknown words: Luong et al., "Addressing the Rare Word Problem in Neural Machine Translation" (2015), section 3, with
//! attention in place of their position tokens, and no dictionary.

use super::Hypothesis;
use crate::{Result, model::Model};

/// The text of a hypothesis that was searched for with [`super::SearchOptions::attended`], each `<unk>` in it replaced by the
/// token of `source` that it attended to most, or the word that this is a part of. One that attended to the source's end stays.
///
/// # Errors
/// [`crate::Error::Data`] for a source that the tokenizer refuses.
pub fn replace_unknown(model: &Model, source: &str, hypothesis: &Hypothesis) -> Result<String> {
    let words = model.source.copies(source)?;
    let attended = |place: usize| hypothesis.attended.get(place).and_then(|position| words.get(*position as usize));
    Ok(model.target.decode_replacing(&hypothesis.tokens, |place| attended(place).map(String::as_str)))
}
