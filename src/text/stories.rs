//! The task `stories`: people go to places, take things and drop them, and a question whose answer is a part of what was told, like the
//! first tasks of Weston et al., "Towards AI-Complete Question Answering: A Set of Prerequisite Toy Tasks" (2016), section 4. Where
//! somebody is takes one fact, where a thing is takes two.

use std::collections::HashSet;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::Pair;
use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};

const PEOPLE: [&str; 8] = ["Ann", "Bob", "Carla", "Dan", "Eve", "Fred", "Gina", "Hugo"];
const PLACES: [&str; 12] = [
    "kitchen",
    "garden",
    "school yard",
    "office",
    "train station",
    "park",
    "library",
    "old barn",
    "bathroom",
    "market hall",
    "cellar",
    "town museum",
];
const THINGS: [&str; 12] = [
    "ball",
    "red apple",
    "green apple",
    "book",
    "milk",
    "lamp",
    "paper kite",
    "key",
    "blue cup",
    "white cup",
    "map",
    "coin",
];
const GOES: [&str; 4] = ["went to", "moved to", "walked to", "ran to"];
const TAKES: [&str; 3] = ["took", "picked up", "got"];
const DROPS: [&str; 2] = ["dropped", "put down"];
/// The fewest and the most sentences of a story.
const SENTENCES: [usize; 2] = [4, 8];

/// Somebody in a story.
#[derive(Clone, Copy)]
struct Person {
    name: &'static str,
    place: Option<&'static str>,
    thing: Option<&'static str>,
}

/// A story so far.
struct Story {
    people: Vec<Person>,
    sentences: Vec<String>,
    /// The things that were dropped and lie somewhere.
    lying: Vec<(&'static str, &'static str)>,
}

/// Training and validation pairs, which share no source.
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

/// A question and its story, and the answer.
fn pair(rng: &mut ChaCha8Rng) -> Pair {
    loop {
        let story = Story::tell(rng);
        let text = story.sentences.join(" ");
        let questions: Vec<_> =
            story.questions().into_iter().filter(|(_, answer)| occurs_once(answer, &text)).collect();
        if let Some((question, answer)) = questions.choose(rng) {
            return Pair::new(format!("{question}\t{text}"), *answer);
        }
    }
}

/// Whether a story says something once, so that it is plain which part of it is the answer.
fn occurs_once(answer: &str, text: &str) -> bool {
    text.matches(answer).count() == 1
}

impl Story {
    fn tell(rng: &mut ChaCha8Rng) -> Self {
        let count = rng.random_range(2..4);
        let names = PEOPLE.sample(rng, count);
        let people = names.map(|name| Person { name, place: None, thing: None }).collect();
        let mut story = Self { people, sentences: Vec::new(), lying: Vec::new() };
        let [fewest, most] = SENTENCES;
        for _ in 0..rng.random_range(fewest..=most) {
            story.go_on(rng);
        }
        story
    }

    /// Adds a sentence.
    fn go_on(&mut self, rng: &mut ChaCha8Rng) {
        let number = rng.random_range(0..self.people.len());
        let Some(person) = self.people.get_mut(number) else { return };
        let Person { name, place, thing } = *person;
        let sentence = match (place, thing) {
            (Some(place), Some(thing)) if rng.random_bool(0.3) => {
                person.thing = None;
                self.lying.push((thing, place));
                format!("{name} {} the {thing} .", one(&DROPS, rng))
            }
            (Some(_), None) if rng.random_bool(0.6) => {
                let taken = one(&THINGS, rng);
                let known = self.people.iter().any(|other| other.thing == Some(taken));
                if known || self.lying.iter().any(|(thing, _)| *thing == taken) {
                    return;
                }
                if let Some(person) = self.people.get_mut(number) {
                    person.thing = Some(taken);
                }
                format!("{name} {} the {taken} .", one(&TAKES, rng))
            }
            _ => {
                let next = one(&PLACES, rng);
                if place == Some(next) {
                    return;
                }
                person.place = Some(next);
                format!("{name} {} the {next} .", one(&GOES, rng))
            }
        };
        self.sentences.push(sentence);
    }

    /// What can be asked, with the answers.
    fn questions(&self) -> Vec<(String, &'static str)> {
        let mut all = Vec::new();
        for Person { name, place, thing } in &self.people {
            all.extend(place.map(|place| (format!("where is {name} ?"), place)));
            all.extend(thing.map(|thing| (format!("what does {name} have ?"), thing)));
            all.extend(thing.zip(*place).map(|(thing, place)| (format!("where is the {thing} ?"), place)));
        }
        all.extend(self.lying.iter().map(|(thing, place)| (format!("where is the {thing} ?"), *place)));
        all
    }
}

/// One of several, all as likely.
fn one(from: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    from.choose(rng).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// Where everything is, by the story alone.
    #[test]
    fn answers_are_what_the_story_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut asked = [0; 3];
        for _ in 0..300 {
            let Pair { source, target } = pair(&mut rng);
            let (question, story) = source.split_once('\t').unwrap();
            assert_eq!(story.matches(&target).count(), 1, "{source}");
            let sentences: Vec<&str> = story.split_terminator(" .").map(str::trim).collect();
            let last = |of: &dyn Fn(&&&str) -> bool| sentences.iter().rposition(|sentence| of(&sentence));
            let goes = |sentence: &str| GOES.iter().any(|verb| sentence.contains(verb));
            let place = |person: &str, before: usize| {
                let moved = |sentence: &&&str| sentence.starts_with(person) && goes(sentence);
                let at = sentences[..before].iter().rposition(|sentence| moved(&sentence)).unwrap();
                sentences[at].rsplit_once(" the ").unwrap().1
            };
            let asked_for = |before: &str, behind: &str| question.strip_prefix(before)?.strip_suffix(behind);
            if let Some(person) = asked_for("what does ", " have ?") {
                let took = last(&|sentence| sentence.starts_with(person) && !goes(sentence)).unwrap();
                assert!(sentences[took].ends_with(&target), "{source}");
                asked[0] += 1;
            } else if let Some(thing) = asked_for("where is the ", " ?") {
                let held = last(&|sentence| sentence.ends_with(&format!(" the {thing}"))).unwrap();
                let person = sentences[held].split(' ').next().unwrap();
                let dropped = DROPS.iter().any(|verb| sentences[held].contains(verb));
                assert_eq!(place(person, if dropped { held } else { sentences.len() }), target, "{source}");
                asked[1] += 1;
            } else {
                let person = asked_for("where is ", " ?").unwrap();
                assert_eq!(place(person, sentences.len()), target, "{source}");
                asked[2] += 1;
            }
        }
        assert!(asked.iter().all(|count| *count > 30), "{asked:?}");
    }
}
