//! Which edits turn a reference into a hypothesis: what the error rates count, one by one.

use std::cmp::Reverse;

use super::metrics::edit_distance;

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It was wanted, and written.
    Kept(&'a str),
    /// Another one was wanted.
    Substituted {
        /// The reference's token.
        wanted: &'a str,
        /// The hypothesis's token.
        written: &'a str,
    },
    /// None was wanted.
    Inserted(&'a str),
    /// It was wanted, and nothing written.
    Deleted(&'a str),
}

/// The nearest of several references: fewest edits; of equals the longer, then the first.
pub fn nearest<'a>(hypothesis: &[String], references: &'a [Vec<String>]) -> Option<&'a Vec<String>> {
    references.iter().min_by_key(|reference| (edit_distance(hypothesis, reference), Reverse(reference.len())))
}

/// As few edits as possible, in the order of the texts.
pub fn edits<'a>(hypothesis: &'a [String], reference: &'a [String]) -> Vec<Edit<'a>> {
    let columns = reference.len() + 1;
    // distances[i][j]: from the first i tokens of the hypothesis to the first j of the reference.
    let mut distances = vec![0_usize; (hypothesis.len() + 1) * columns];
    for i in 0..=hypothesis.len() {
        for j in 0..columns {
            distances[i * columns + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(hypothesis[i - 1] != reference[j - 1]);
                let [up, left, corner] =
                    [(i - 1, j), (i, j - 1), (i - 1, j - 1)].map(|(i, j)| distances[i * columns + j]);
                (corner + differs).min(up + 1).min(left + 1)
            };
        }
    }
    let (mut i, mut j) = (hypothesis.len(), reference.len());
    let mut found = Vec::new();
    while i > 0 || j > 0 {
        let here = distances[i * columns + j];
        let both = (i > 0 && j > 0).then(|| (hypothesis[i - 1].as_str(), reference[j - 1].as_str()));
        match both {
            Some((written, wanted))
                if here == distances[(i - 1) * columns + j - 1] + usize::from(written != wanted) =>
            {
                found.push(if written == wanted { Edit::Kept(written) } else { Edit::Substituted { wanted, written } });
                (i, j) = (i - 1, j - 1);
            }
            _ if i > 0 && here == distances[(i - 1) * columns + j] + 1 => {
                found.push(Edit::Inserted(&hypothesis[i - 1]));
                i -= 1;
            }
            _ => {
                found.push(Edit::Deleted(&reference[j - 1]));
                j -= 1;
            }
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn every_edit_is_named() {
        let (hypothesis, reference) = (tokens("axcdefg"), tokens("abcefgh"));
        let wanted = [
            Edit::Kept("a"),
            Edit::Substituted { wanted: "b", written: "x" },
            Edit::Kept("c"),
            Edit::Inserted("d"),
            Edit::Kept("e"),
            Edit::Kept("f"),
            Edit::Kept("g"),
            Edit::Deleted("h"),
        ];
        assert_eq!(edits(&hypothesis, &reference), wanted);
        assert_eq!(edits(&[], &tokens("ab")), [Edit::Deleted("a"), Edit::Deleted("b")]);
        assert_eq!(edits(&tokens("a"), &[]), [Edit::Inserted("a")]);
    }

    proptest::proptest! {
        #[test]
        fn there_are_as_many_as_the_distance_counts_and_they_tell_both_texts(a in "[abc]{0,9}", b in "[abc]{0,9}") {
            let (a, b) = (tokens(&a), tokens(&b));
            let edits = edits(&a, &b);
            let count = edits.iter().filter(|edit| !matches!(edit, Edit::Kept(_))).count();
            proptest::prop_assert_eq!(count, edit_distance(&a, &b));
            let written: Vec<_> = edits.iter().filter_map(|edit| match edit {
                Edit::Kept(token) | Edit::Inserted(token) | Edit::Substituted { written: token, .. } => Some(*token),
                Edit::Deleted(_) => None,
            }).collect();
            let wanted: Vec<_> = edits.iter().filter_map(|edit| match edit {
                Edit::Kept(token) | Edit::Deleted(token) | Edit::Substituted { wanted: token, .. } => Some(*token),
                Edit::Inserted(_) => None,
            }).collect();
            proptest::prop_assert_eq!(written, a.iter().collect::<Vec<_>>());
            proptest::prop_assert_eq!(wanted, b.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_equally_near_references_the_longer_counts() {
        let references = [tokens("ab"), tokens("abdd"), tokens("abd")];
        // One edit from "ab" and from "abd".
        assert_eq!(nearest(&tokens("abc"), &references), Some(&references[2]));
        assert_eq!(nearest(&tokens("abc"), &[]), None);
    }
}
