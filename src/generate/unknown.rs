//! Unknown words: Luong et al., "Addressing the Rare Word Problem in Neural Machine Translation" (2015), section 3, with
//! attention in place of their position tokens, and no dictionary.

use super::{Generator, Hypothesis};
use crate::{Result, model::Model};

/// The text of a hypothesis that `generator` found with [`super::SearchOptions::attended`], each `<unk>` in it replaced by the
/// token of `source` that it attended to most, or the word that this is a part of. The special tokens around a source are none to
/// write: one that attended to them most gets the next best.
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
    let tokens = model.encode(source)?;
    let own = model.source.own(&tokens);
    let attended = |place: usize| hypothesis.attended.get(place).map(|position| *position as usize);
    let is_outside = |place| attended(place).is_some_and(|position| !own.contains(&position));
    let unknown = model.target.specials().unk;
    let mut unknown = hypothesis.tokens.iter().zip(0..).filter(|(token, _)| **token == unknown);
    let mut weights = Vec::new();
    if !own.is_empty() && unknown.any(|(_, place)| is_outside(place)) {
        // The search has kept the best position alone.
        weights = generator.alignment(&tokens, &hypothesis.tokens)?;
    }
    let rows: Vec<&[f32]> = weights.chunks(tokens.len().max(1)).collect();
    let next_best = |place: usize| {
        let weights = rows.get(place)?.iter().zip(0..).filter(|(_, position)| own.contains(position));
        weights.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, position)| position)
    };
    let position = |place| if is_outside(place) { next_best(place) } else { attended(place) };
    let word = |place| words.get(position(place)?.checked_sub(own.start)?).map(String::as_str);
    Ok(model.target.decode_replacing(&hypothesis.tokens, word))
}
