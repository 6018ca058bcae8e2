//! What is scored.

use std::{collections::HashMap, hash::Hash};

/// A hypothesis and its references.
pub type Segment<'a> = (&'a [String], &'a [Vec<String>]);

/// How often each run of `order` tokens occurs.
pub(super) fn ngrams<T: Eq + Hash>(tokens: &[T], order: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}
