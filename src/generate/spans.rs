//! Answers that are parts of their sources, by models that tell where these begin and end: of all parts of a paragraph the likeliest
//! (Devlin et al., "BERT", 2019, section 4.2).

use std::ops::Range;

use super::{Hypothesis, SearchOptions};

/// The places of the second text of a source, behind the end of the first.
pub(super) fn paragraph(source: &[u32], eos: u32) -> Option<Range<usize>> {
    let end = source.len().checked_sub(1)?;
    let between = source.iter().position(|token| *token == eos)?;
    // Some models have two of them there.
    let first = between + source.get(between..end)?.iter().take_while(|token| **token == eos).count();
    (first < end).then_some(first..end)
}

/// The likeliest parts within the paragraph, of the lengths that the options allow, by the logarithms of the probabilities that one begins
/// and ends at each token.
pub(super) fn spans([first, last]: [&[f64]; 2], paragraph: Range<usize>, options: &SearchOptions) -> Vec<Hypothesis> {
    // An end token would count there as well.
    let longest = options.max_length.map_or(usize::MAX, |most| most.saturating_sub(1));
    let (from, to) = (paragraph.start, paragraph.end);
    let ends =
        |start: usize| start.saturating_add(options.min_length.max(1) - 1)..start.saturating_add(longest).min(to);
    let parts = (from..to).flat_map(|start| ends(start).map(move |end| (start, end)));
    let score = |(start, end): (usize, usize)| Some((*first.get(start)? + *last.get(end)?, start, end));
    let mut found: Vec<_> = parts.filter_map(score).collect();
    let better = |one: &(f64, usize, usize), other: &(f64, usize, usize)| other.0.total_cmp(&one.0);
    if found.len() > options.n_best {
        found.select_nth_unstable_by(options.n_best, better);
        found.truncate(options.n_best);
    }
    found.sort_by(better);
    let hypothesis = |(score, start, end): (f64, usize, usize)| {
        let tokens = vec![start as u32, end as u32];
        Hypothesis { attended: tokens.clone(), tokens, score: score as f32, finished: true }
    };
    found.into_iter().map(hypothesis).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &SearchOptions) -> Vec<Vec<u32>> {
        let first = [0.9, 0.1, 0.2, 0.6, 0.3, 0.9].map(f64::ln).to_vec();
        let last = [0.9, 0.8, 0.5, 0.1, 0.4, 0.9].map(f64::ln).to_vec();
        spans([&first, &last], 1..5, options).into_iter().map(|one| one.tokens).collect()
    }

    #[test]
    fn answers_are_parts_of_the_paragraph() {
        // The likeliest first place is 3, and the likeliest last one is 1, which lies before it.
        assert_eq!(found(&SearchOptions::default()), [[3, 4]]);
        let many = SearchOptions { n_best: 64, ..SearchOptions::beam(64) };
        assert_eq!(found(&many).len(), 4 + 3 + 2 + 1);
        assert_eq!(found(&many)[..3], [[3, 4], [4, 4], [2, 2]]);
        let short = SearchOptions { max_length: Some(2), ..many.clone() };
        assert_eq!(found(&short), [[4, 4], [2, 2], [1, 1], [3, 3]]);
        let long = SearchOptions { min_length: 3, ..many };
        assert_eq!(found(&long), [[2, 4], [1, 4], [1, 3]]);
    }

    #[test]
    fn paragraphs_are_behind_the_end_of_questions() {
        assert_eq!(paragraph(&[1, 9, 2, 8, 7, 2], 2), Some(3..5));
        assert_eq!(paragraph(&[1, 9, 2, 2, 8, 7, 2], 2), Some(4..6));
        for none in [&[1, 9, 8, 2][..], &[1, 9, 2, 2], &[2], &[]] {
            assert_eq!(paragraph(none, 2), None, "{none:?}");
        }
    }
}
