//! Which edits turn a reference into a hypothesis: what the error rates count, one by one.

use std::cmp::Reverse;

use super::metrics::edit_distance;

/// One edit from a hypothesis to its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// A token of the reference that the hypothesis has.
    Kept(&'a str),
    /// A token of the reference in whose place the hypothesis has another.
    Substituted {
        /// The reference's token.
        wanted: &'a str,
        /// The hypothesis's token.
        written: &'a str,
    },
    /// A token of the hypothesis that the reference lacks.
    Inserted(&'a str),
    /// A token of the reference that the hypothesis lacks.
    Deleted(&'a str),
}

/// The nearest of several references: fewest edits; of equals the longer, then the first.
pub fn nearest<'a>(hypothesis: &[String], references: &'a [Vec<String>]) -> Option<&'a Vec<String>> {
    references.iter().min_by_key(|reference| (edit_distance(hypothesis, reference), Reverse(reference.len())))
}

/// The fewest edits that turn a hypothesis into its reference, in the order of the texts.
pub fn edits<'a>(hypothesis: &'a [String], reference: &'a [String]) -> Vec<Edit<'a>> {
    let columns = reference.len() + 1;
    // At (i, j): from the first i tokens of the hypothesis to the first j of the reference.
    let at = |distances: &[usize], i: usize, j: usize| distances.get(i * columns + j).copied().unwrap_or_default();
    let mut distances: Vec<usize> = (0..columns).collect();
    for (written, i) in hypothesis.iter().zip(1..) {
        distances.push(i);
        for (wanted, j) in reference.iter().zip(1..) {
            let [up, left, corner] = [(i - 1, j), (i, j - 1), (i - 1, j - 1)].map(|(i, j)| at(&distances, i, j));
            distances.push((corner + usize::from(written != wanted)).min(up + 1).min(left + 1));
        }
    }
    let (mut i, mut j) = (hypothesis.len(), reference.len());
    let mut found = Vec::new();
    loop {
        let here = at(&distances, i, j);
        let last = |tokens: &'a [String], count: usize| tokens.get(count.checked_sub(1)?).map(String::as_str);
        match (last(hypothesis, i), last(reference, j)) {
            (Some(written), Some(wanted)) if here == at(&distances, i - 1, j - 1) + usize::from(written != wanted) => {
                found.push(if written == wanted { Edit::Kept(written) } else { Edit::Substituted { wanted, written } });
                (i, j) = (i - 1, j - 1);
            }
            (Some(written), _) if here == at(&distances, i - 1, j) + 1 => {
                found.push(Edit::Inserted(written));
                i -= 1;
            }
            (_, Some(wanted)) => {
                found.push(Edit::Deleted(wanted));
                j -= 1;
            }
            (_, None) => break,
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
