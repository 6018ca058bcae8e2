//! The task `opinions`: what people say of things, and whether that is `positive`, `negative` or, where they state facts alone,
//! `neutral`. A negation turns a word round, and of two opinions that are set against each other the main clause's counts.

use std::collections::HashSet;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::Pair;
use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};

const THINGS: [&str; 20] = [
    "film", "book", "room", "soup", "music", "garden", "hotel", "phone", "coffee", "teacher", "bridge", "museum",
    "train", "song", "bread", "jacket", "story", "market", "beach", "game",
];
const GOOD: [&str; 12] = [
    "good",
    "great",
    "lovely",
    "excellent",
    "charming",
    "wonderful",
    "clever",
    "delightful",
    "superb",
    "pleasant",
    "brilliant",
    "fine",
];
const BAD: [&str; 12] = [
    "bad",
    "awful",
    "dull",
    "terrible",
    "boring",
    "poor",
    "horrible",
    "disappointing",
    "dreadful",
    "unpleasant",
    "sad",
    "weak",
];
const DEGREES: [&str; 6] = ["", "very ", "really ", "quite ", "so ", "truly "];
const LIKE: [&str; 4] = ["like", "love", "enjoy", "admire"];
const DISLIKE: [&str; 4] = ["dislike", "hate", "regret", "avoid"];
const FACTS: [&str; 10] = [
    "is new",
    "is near the station",
    "was made in May",
    "costs ten euros",
    "has two parts",
    "is by the river",
    "opens at noon",
    "is known to many",
    "was sold last year",
    "is on the table",
];

/// What a clause says of its thing: how good it is, if it says so at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opinion {
    Positive,
    Negative,
    Neutral,
}

impl Opinion {
    fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Neutral => "neutral",
        }
    }

    fn of(positive: bool) -> Self {
        if positive { Self::Positive } else { Self::Negative }
    }
}

/// Training and validation pairs, which share no text.
pub(super) fn generate(rng: &mut ChaCha8Rng) -> (Vec<Pair>, Vec<Pair>) {
    let mut seen = HashSet::new();
    let mut valid = Vec::with_capacity(VALID_PAIRS);
    while valid.len() < VALID_PAIRS {
        let pair = pair(rng);
        if seen.insert(pair.source.clone()) {
            valid.push(pair);
        }
    }
    let mut train = Vec::with_capacity(TRAIN_PAIRS);
    while train.len() < TRAIN_PAIRS {
        let pair = pair(rng);
        if !seen.contains(&pair.source) {
            train.push(pair);
        }
    }
    (train, valid)
}

fn pair(rng: &mut ChaCha8Rng) -> Pair {
    let (main, opinion) = clause(rng);
    let (other, _) = clause(rng);
    let text = match rng.random_range(0..4) {
        0 => main,
        1 => format!("{other} , but {main}"),
        2 => format!("although {other} , {main}"),
        _ => format!("{main} , although {other}"),
    };
    Pair::new(text, opinion.name())
}

/// A clause, and what it says.
fn clause(rng: &mut ChaCha8Rng) -> (String, Opinion) {
    let thing = one(&THINGS, rng);
    let [positive, negated] = [rng.random_bool(0.5), rng.random_bool(0.3)];
    let opinion = Opinion::of(positive != negated);
    match rng.random_range(0..3) {
        0 => {
            let quality = one(if positive { &GOOD } else { &BAD }, rng);
            let verb = one(&["is", "was"], rng);
            let not = if negated { "not " } else { "" };
            (format!("the {thing} {verb} {not}{}{quality}", one(&DEGREES, rng)), opinion)
        }
        1 => {
            let feeling = one(if positive { &LIKE } else { &DISLIKE }, rng);
            let verb = if negated { format!("do not {feeling}") } else { feeling.to_owned() };
            (format!("{} {verb} the {thing}", one(&["I", "we", "they"], rng)), opinion)
        }
        _ => (format!("the {thing} {}", one(&FACTS, rng)), Opinion::Neutral),
    }
}

/// One of several, all as likely.
fn one<'a>(from: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}
