//! Counts of errors: by token, and by the length of the source.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

use super::examples::Answer;
use crate::text::{
    Edit, edits,
    metrics::{Segment, sentence_error_rate, token_error_rate},
};

/// Entries of each list.
const LISTED: usize = 12;
/// Sources are put into about this many classes of length.
const CLASSES: usize = 12;

/// The most frequent errors, each with how often it occurs, and all that there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Tokens written where others were wanted: wanted, written.
    pub substitutions: Vec<([String; 2], usize)>,
    /// Tokens written where none was wanted.
    pub insertions: Vec<(String, usize)>,
    /// Tokens wanted where none was written.
    pub deletions: Vec<(String, usize)>,
    /// The numbers of substitutions, insertions and deletions.
    pub totals: [usize; 3],
    /// Tokens of the nearest references.
    pub wanted: usize,
    /// By length of the source.
    pub by_length: Vec<LengthErrors>,
}

/// The errors at some lengths of the source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthErrors {
    /// The least and the largest number of source tokens.
    pub tokens: [usize; 2],
    /// Sources of these lengths.
    pub sources: usize,
    /// Token error rate in percent.
    pub per: f64,
    /// The share of texts that are not wholly right, in percent.
    pub sentence_error_rate: f64,
}

pub(super) fn count(answers: &[Answer]) -> Errors {
    let (mut substituted, mut inserted, mut deleted) = (HashMap::new(), HashMap::new(), HashMap::new());
    for answer in answers {
        for edit in edits(&answer.written, &answer.nearest) {
            match edit {
                Edit::Kept(_) => {}
                Edit::Substituted { wanted, written } => {
                    *substituted.entry([wanted.to_owned(), written.to_owned()]).or_default() += 1;
                }
                Edit::Inserted(token) => *inserted.entry(token.to_owned()).or_default() += 1,
                Edit::Deleted(token) => *deleted.entry(token.to_owned()).or_default() += 1,
            }
        }
    }
    let totals = [substituted.values().sum(), inserted.values().sum(), deleted.values().sum()];
    Errors {
        substitutions: most_frequent(substituted),
        insertions: most_frequent(inserted),
        deletions: most_frequent(deleted),
        totals,
        wanted: answers.iter().map(|answer| answer.nearest.len()).sum(),
        by_length: by_length(answers),
    }
}

fn most_frequent<T: Ord>(counts: HashMap<T, usize>) -> Vec<(T, usize)> {
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_unstable_by(|(a, more), (b, less)| (Reverse(more), a).cmp(&(Reverse(less), b)));
    sorted.truncate(LISTED);
    sorted
}

fn by_length(answers: &[Answer]) -> Vec<LengthErrors> {
    let lengths = || answers.iter().map(|answer| answer.source_length);
    let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else { return Vec::new() };
    let width = (most - least + 1).div_ceil(CLASSES);
    (least..=most)
        .step_by(width)
        .filter_map(|first| {
            let last = (first + width - 1).min(most);
            let within = answers.iter().filter(|answer| (first..=last).contains(&answer.source_length));
            let segments: Vec<Segment> =
                within.map(|answer| (answer.written.as_slice(), answer.references.as_slice())).collect();
            (!segments.is_empty()).then(|| LengthErrors {
                tokens: [first, last],
                sources: segments.len(),
                per: token_error_rate(&segments),
                sentence_error_rate: sentence_error_rate(&segments),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(source_length: usize, written: &str, references: &[&str]) -> Answer {
        let tokens = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let references: Vec<_> = references.iter().map(|text| tokens(text)).collect();
        let written = tokens(written);
        let nearest = crate::text::nearest(&written, &references).unwrap().clone();
        Answer {
            source: "s".repeat(source_length),
            tokens: Vec::new(),
            text: written.join(" "),
            source_length,
            written,
            references,
            wanted: nearest.join(" "),
            nearest,
        }
    }

    #[test]
    fn errors_are_counted_against_the_nearest_reference() {
        let answers = [
            answer(2, "a b", &["x y z", "a b"]),
            answer(2, "a c", &["a b"]),
            answer(3, "a c c", &["a b"]),
            answer(40, "", &["a q"]),
        ];
        let errors = count(&answers);
        assert_eq!(errors.totals, [2, 1, 2]);
        assert_eq!(errors.substitutions, [(["b".to_owned(), "c".to_owned()], 2)]);
        assert_eq!(errors.insertions, [("c".to_owned(), 1)]);
        assert_eq!(errors.deletions, [("a".to_owned(), 1), ("q".to_owned(), 1)]);
        assert_eq!(errors.wanted, 8);
        // All edits over all wanted tokens are the token error rate.
        let segments: Vec<Segment> = answers.iter().map(|a| (a.written.as_slice(), a.references.as_slice())).collect();
        let rate = 100.0 * errors.totals.iter().sum::<usize>() as f64 / errors.wanted as f64;
        assert!((rate - token_error_rate(&segments)).abs() < 1e-9);
        let classes: Vec<_> =
            errors.by_length.iter().map(|class| (class.tokens, class.sources, class.sentence_error_rate)).collect();
        assert_eq!(classes, [([2, 5], 3, 200.0 / 3.0), ([38, 40], 1, 100.0)]);
        assert_eq!(count(&[]), Errors::default());
    }
}
