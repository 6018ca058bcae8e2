//! Scores of classes: how often texts of each class were given each name.

use std::collections::BTreeMap;

use serde::Serialize;

/// The counts of texts by the class that they have and the one that they were given, and the scores that follow from them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Confusion {
    /// The names of the classes, sorted.
    pub names: Vec<String>,
    /// `[C, C]`: row by row the class that texts have, column by column the one that they were given.
    pub counts: Vec<Vec<usize>>,
    /// Precision, recall and F1 of each class, in percent.
    pub classes: Vec<ClassScores>,
    /// The mean of the classes' F1, in percent.
    pub macro_f1: f64,
}

/// The scores of a class, in percent; 0 where nothing is to be divided by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClassScores {
    /// The share of its own texts among those that were given its name.
    pub precision: f64,
    /// The share of those that were given its name among its own texts.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// The number of its texts.
    pub count: usize,
}

impl Confusion {
    /// Of texts, each with the class that it has and the one that it was given. What was given no class at all counts as one named
    /// with the empty text.
    pub fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let mut places: BTreeMap<&str, usize> = texts.clone().flat_map(|(own, given)| [(own, 0), (given, 0)]).collect();
        places.values_mut().enumerate().for_each(|(number, place)| *place = number);
        let mut counts = vec![vec![0; places.len()]; places.len()];
        for (own, given) in texts {
            let cell =
                places.get(own).zip(places.get(given)).and_then(|(row, column)| counts.get_mut(*row)?.get_mut(*column));
            cell.into_iter().for_each(|count| *count += 1);
        }
        let classes: Vec<_> = counts.iter().enumerate().map(|(number, row)| scores(number, row, &counts)).collect();
        // A name that no text has is a mistake of others, and no class to be found.
        let present: Vec<f64> = classes.iter().filter(|class| class.count > 0).map(|class| class.f1).collect();
        let macro_f1 = present.iter().sum::<f64>() / present.len().max(1) as f64;
        Self { names: places.into_keys().map(str::to_owned).collect(), counts, classes, macro_f1 }
    }
}

fn scores(number: usize, row: &[usize], counts: &[Vec<usize>]) -> ClassScores {
    let of = |row: &[usize]| row.get(number).copied().unwrap_or_default();
    let share = |of: usize, all: usize| 100.0 * of as f64 / all.max(1) as f64;
    let (right, count) = (of(row), row.iter().sum());
    let given = counts.iter().map(|row| of(row)).sum::<usize>();
    let f1 = share(2 * right, count + given);
    ClassScores { precision: share(right, given), recall: share(right, count), f1, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of scikit-learn's `precision_recall_fscore_support` on the same texts.
    #[test]
    fn precision_recall_and_f1_of_each_class() {
        let texts = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "a"), ("a", "a")];
        let found = Confusion::of(texts.into_iter());
        assert_eq!(found.names, ["a", "b", "c"]);
        assert_eq!(found.counts, [[2, 1, 0], [0, 2, 0], [1, 0, 0]]);
        let expected = [(66.667, 66.667, 66.667, 3), (66.667, 100.0, 80.0, 2), (0.0, 0.0, 0.0, 1)];
        for (class, (precision, recall, f1, count)) in found.classes.iter().zip(expected) {
            let near = |x: f64, y: f64| (x - y).abs() < 1e-3;
            assert!(near(class.precision, precision) && near(class.recall, recall) && near(class.f1, f1), "{class:?}");
            assert_eq!(class.count, count);
        }
        assert!((found.macro_f1 - 48.889).abs() < 1e-3, "{}", found.macro_f1);
    }

    #[test]
    fn a_name_that_no_text_has_is_no_class_of_the_mean() {
        let found = Confusion::of([("a", "a"), ("b", "z")].into_iter());
        assert_eq!(found.names, ["a", "b", "z"]);
        assert_eq!(found.macro_f1, 50.0);
        assert_eq!(Confusion::of(std::iter::empty()).macro_f1, 0.0);
    }
}
