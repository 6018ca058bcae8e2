//! Scores of answers to questions over a paragraph, as SQuAD defines them (Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine
//! Comprehension of Text", 2016, section 6.1): without regard to case, punctuation, articles and spaces.

use std::{collections::HashMap, ops::AddAssign};

use serde::Serialize;

/// The words that count for nothing.
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// The scores of answers, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AnswerScores {
    /// The share of answers that equal one of their references.
    pub exact_match: f64,
    /// The mean over answers of the harmonic mean of precision and recall of their words, against the reference where it is greatest.
    pub f1: f64,
}

/// The contribution of answers to these scores, so that any set of them is scored by their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerStatistics {
    exact: f64,
    f1: f64,
    count: f64,
}

impl AnswerStatistics {
    /// Of one answer.
    pub fn of(answer: &str, references: &[String]) -> Self {
        let answer = words(answer);
        let references = references.iter().map(|reference| words(reference));
        let [exact, f1] = references.fold([0.0_f64; 2], |[exact, f1], reference| {
            let same = if answer == reference { 1.0 } else { 0.0 };
            [exact.max(same), f1.max(overlap(&answer, &reference))]
        });
        Self { exact, f1, count: 1.0 }
    }

    /// The scores of several answers together, if there are any.
    pub fn together(answers: &[Self]) -> Option<AnswerScores> {
        let mut sum = Self::default();
        answers.iter().for_each(|answer| sum += *answer);
        (!answers.is_empty()).then(|| sum.scores())
    }

    /// The scores of all.
    pub fn scores(&self) -> AnswerScores {
        let share = |sum: f64| 100.0 * sum / self.count.max(1.0);
        AnswerScores { exact_match: share(self.exact), f1: share(self.f1) }
    }
}

impl AddAssign for AnswerStatistics {
    fn add_assign(&mut self, other: Self) {
        self.exact += other.exact;
        self.f1 += other.f1;
        self.count += other.count;
    }
}

/// What counts of a text.
fn words(text: &str) -> Vec<String> {
    let text: String = text.chars().filter(|c| !c.is_ascii_punctuation()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().filter(|word| !ARTICLES.contains(word)).map(str::to_owned).collect()
}

/// The harmonic mean of the shares of each one's words that the other has, each as often as in both.
fn overlap(one: &[String], other: &[String]) -> f64 {
    let mut left: HashMap<&String, usize> = HashMap::new();
    other.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let shared = one.iter().filter(|word| {
        let found = left.get_mut(word).filter(|count| **count > 0);
        found.map(|count| *count -= 1).is_some()
    });
    match one.len() + other.len() {
        // Two answers of no word at all are the same.
        0 => 1.0,
        all => 2.0 * shared.count() as f64 / all as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(answers: &[(&str, &[&str])]) -> AnswerScores {
        let mut sum = AnswerStatistics::default();
        for (answer, references) in answers {
            let references: Vec<String> = references.iter().map(|text| (*text).to_owned()).collect();
            sum += AnswerStatistics::of(answer, &references);
        }
        sum.scores()
    }

    /// The figures of SQuAD's own script on the same answers.
    #[test]
    fn exact_match_and_f1_are_those_of_squad() {
        let found = scores(&[("The  Red-Ball.", &["redball"])]);
        assert_eq!((found.exact_match, found.f1), (100.0, 100.0));
        let found = scores(&[("red ball", &["the ball", "green ball ball"])]);
        assert_eq!(found.exact_match, 0.0);
        assert!((found.f1 - 200.0 / 3.0).abs() < 1e-9, "{found:?}");
        let found = scores(&[("in the kitchen", &["kitchen"]), ("", &["garden"]), ("garden", &["garden"])]);
        assert!(
            (found.exact_match - 100.0 / 3.0).abs() < 1e-9 && (found.f1 - (200.0 / 3.0 + 100.0) / 3.0).abs() < 1e-9
        );
        assert_eq!(scores(&[]), AnswerScores::default());
    }
}
