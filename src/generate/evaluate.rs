//! Scores of a model on data.

use std::collections::HashSet;

use super::{Generator, SearchOptions};
use crate::{
    Result,
    model::Model,
    text::{Pair, Scores, metrics, score},
};

/// Generates for every distinct source of `pairs` and scores once per source. Returns the scores and the generated texts.
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
        let tokens = hypotheses.into_iter().next().map(|best| best.tokens).unwrap_or_default();
        texts.push(Pair::new(*source, model.target.decode(&tokens)));
        items.push(((*source).to_owned(), model.target.units(&tokens)));
    }
    let references = metrics::references(pairs, |target| model.target.units_of(target))?;
    Ok((score(&items, &references)?, texts))
}
