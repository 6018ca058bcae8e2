//! The likeliest choices at several places that do not depend on each other.

/// A token at each place, and the sum of the logarithms of their probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub tokens: Vec<u32>,
    pub score: f64,
}

/// The `most` likeliest choices, the best first, of logarithms of probabilities at each place; never of the tokens `never`.
pub(super) fn combined(places: &[Vec<f64>], never: &[u32], most: usize) -> Vec<Choice> {
    let mut found = vec![Choice::default()];
    for place in places {
        let tokens = (0..).zip(place).filter(|(token, _)| !never.contains(token));
        let single: Vec<_> = tokens.map(|(token, score)| Choice { tokens: vec![token], score: *score }).collect();
        let likely = best(single, most);
        let longer = |before: &Choice| {
            let next = |one: &Choice| Choice {
                tokens: [before.tokens.as_slice(), &one.tokens].concat(),
                score: before.score + one.score,
            };
            likely.iter().map(next).collect::<Vec<_>>()
        };
        found = best(found.iter().flat_map(longer).collect(), most);
    }
    found
}

/// The best of all, the best first; of equals the earlier.
fn best(mut all: Vec<Choice>, most: usize) -> Vec<Choice> {
    all.sort_by(|one, other| other.score.total_cmp(&one.score));
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_all_combinations() {
        let places = [[0.1, 0.5, 0.4], [0.7, 0.2, 0.1]].map(|place| place.map(f64::ln).to_vec());
        let found = |never: &[u32], most| -> Vec<Vec<u32>> {
            combined(&places, never, most).into_iter().map(|one| one.tokens).collect()
        };
        assert_eq!(found(&[], 4), [[1, 0], [2, 0], [1, 1], [2, 1]]);
        assert_eq!(found(&[0], 9), [[1, 1], [2, 1], [1, 2], [2, 2]]);
        assert_eq!(combined(&[], &[], 3), [Choice::default()]);
        assert!((combined(&places, &[], 1)[0].score - 0.35_f64.ln()).abs() < 1e-12);
    }
}
