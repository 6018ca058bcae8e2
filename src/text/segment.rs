//! Segments: hypotheses and references to score.

use std::{collections::HashMap, hash::Hash};

/// A hypothesis and its references.
pub type Segment<'a> = (&'a [String], &'a [Vec<String>]);

/// Whether sacreBLEU takes a character for white space: Python does, which counts four more than Unicode.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The counts of the n-grams of `order` tokens.
pub(super) fn ngrams<T: Eq + Hash>(tokens: &[T], order: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}
