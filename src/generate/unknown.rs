//! Unknown words: Luong et al., "Addressing the Rare Word Problem in Neural Machine Translation" (2015), section 3, with
//! attention in place of their position tokens, and no dictionary.

use super::{Generator, Hypothesis};
use crate::{Result, model::Model, text::UNK};

/// The text of a hypothesis that `generator` found with [`super::SearchOptions::attended`], each `<unk>` in it replaced by the
/// token of `source` that it attended to most, or the word that this is a part of. The source's end is no token to write: one
/// that attended to it most gets the next best.
///
/// # Errors
/// [`crate::Error::Data`] for a source that the tokenizer refuses; the errors of the device.
pub fn replace_unknown(
    generator: &mut Generator,
    model: &Model,
    source: &str,
    hypothesis: &Hypothesis,
) -> Result<String> {
    let words = model.source.copies(source)?;
    let attended = |place: usize| hypothesis.attended.get(place).map(|position| *position as usize);
    let at_end = |place| attended(place).is_some_and(|position| position >= words.len());
    let unknown = hypothesis.tokens.iter().zip(0..).filter(|(token, _)| **token == UNK);
    let mut weights = Vec::new();
    if !words.is_empty() && unknown.map(|(_, place)| place).any(at_end) {
        // The search has kept the best position alone.
        weights = generator.alignment(&model.encode(source)?, &hypothesis.tokens)?;
    }
    let rows: Vec<&[f32]> = weights.chunks(words.len() + 1).collect();
    let next_best = |place: usize| {
        let weights = rows.get(place)?.iter().take(words.len()).enumerate();
        weights.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(position, _)| position)
    };
    let position = |place| if at_end(place) { next_best(place) } else { attended(place) };
    let word = |place| position(place).and_then(|position| words.get(position)).map(String::as_str);
    Ok(model.target.decode_replacing(&hypothesis.tokens, word))
}
