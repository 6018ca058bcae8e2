//! Scores of a model on data.

use std::collections::HashSet;

use super::{Generator, SearchOptions, replace_unknown};
use crate::{
    Result,
    model::Model,
    text::{Pair, Scores, metrics, score},
};

/// Generates for every distinct source of `pairs` and scores once per source. Returns the scores and the generated texts; under
/// [`SearchOptions::attended`] with unknown tokens replaced.
///
/// # Errors
/// As [`Generator::generate`] and [`score`].
pub fn evaluate(model: &Model, pairs: &[Pair], options: &SearchOptions) -> Result<(Scores, Vec<Pair>)> {
    evaluate_with(&mut Generator::new(model), model, pairs, options)
}

/// As [`evaluate`], with a generator that has its Programs already.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    generator: &mut Generator,
    model: &Model,
    pairs: &[Pair],
    options: &SearchOptions,
) -> Result<(Scores, Vec<Pair>)> {
    let mut seen = HashSet::new();
    let sources: Vec<&str> =
        pairs.iter().map(|pair| pair.source.as_str()).filter(|source| seen.insert(*source)).collect();
    let tokens = sources.iter().map(|source| model.encode(source)).collect::<Result<Vec<_>>>()?;
    let found = generator.generate(&tokens, options)?;
    let (mut items, mut texts) = (Vec::new(), Vec::new());
    for (source, hypotheses) in sources.iter().zip(found) {
        let best = hypotheses.into_iter().next().unwrap_or_default();
        let (text, units) = match options.attended {
            true => {
                let text = replace_unknown(model, source, &best)?;
                let units = model.target.units_of(&text)?;
                (text, units)
            }
            false => (model.target.decode(&best.tokens), model.target.units(&best.tokens)),
        };
        texts.push(Pair::new(*source, text));
        items.push(((*source).to_owned(), units));
    }
    let references = metrics::references(pairs, |target| model.target.units_of(target))?;
    Ok((score(&items, &references)?, texts))
}
