//! The task `numbers`: digits to English words, `1234` to `one thousand two hundred thirty-four`.

use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Pair;
use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};

/// Names of 0 to 19.
const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
/// Names of the tens, from twenty.
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// Powers of a thousand, largest first.
const SCALES: [(u32, &str); 3] = [(1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")];

/// The English words for `n`: American style without "and", tens and ones joined by a hyphen.
pub fn number_words(n: u32) -> String {
    let mut words = Vec::new();
    let mut rest = n;
    for (scale, name) in SCALES {
        if rest >= scale {
            below_thousand(rest / scale, &mut words);
            words.push(name.to_owned());
            rest %= scale;
        }
    }
    below_thousand(rest, &mut words);
    if words.is_empty() { "zero".to_owned() } else { words.join(" ") }
}

/// Adds the words for `n` (below 1000); none for 0.
fn below_thousand(n: u32, words: &mut Vec<String>) {
    if n >= 100 {
        words.push(small(n / 100).to_owned());
        words.push("hundred".to_owned());
    }
    let n = n % 100;
    let ones = n % 10;
    match n {
        0 => {}
        1..20 => words.push(small(n).to_owned()),
        _ if ones == 0 => words.push(tens(n).to_owned()),
        _ => words.push(format!("{}-{}", tens(n), small(ones))),
    }
}

/// The name of `n` below 20.
fn small(n: u32) -> &'static str {
    SMALL.get(n as usize).copied().unwrap_or_default()
}

/// The name of the tens of `n`, from 20 to 99.
fn tens(n: u32) -> &'static str {
    TENS.get((n as usize / 10).saturating_sub(2)).copied().unwrap_or_default()
}

/// The numbers with this many digits, ascending; 0 has one digit.
fn with_digits(digits: u32) -> Vec<u32> {
    let first = if digits == 1 { 0 } else { 10_u32.pow(digits - 1) };
    (first..10_u32.pow(digits)).collect()
}

/// Training and validation pairs, which share no number.
///
/// Held out are 1,000 distinct numbers: two of one digit and twenty of two (fewer exist, and the rest must still teach
/// every word; 0 always stays, for nothing else says "zero"), and of three to six digits an equal share of what is
/// left (244 or 245 each). To learn from: every other number of one to three digits once, then uniform draws, first of
/// the digit count, then of a number of that many digits that is not held out.
pub(super) fn generate(rng: &mut ChaCha8Rng) -> (Vec<Pair>, Vec<Pair>) {
    let mut valid: Vec<u32> = Vec::new();
    let mut rest: Vec<Vec<u32>> = Vec::new();
    for digits in 1..=6 {
        let mut numbers = with_digits(digits);
        numbers.shuffle(rng);
        let held_out = match digits {
            1 => 2,
            2 => 20,
            // Equal shares among the digit counts still to come.
            _ => (VALID_PAIRS - valid.len()) / (7 - digits as usize),
        };
        if digits == 1 {
            // The tail is held out, so 0 goes to the front.
            numbers.sort_by_key(|&n| n != 0);
        }
        valid.extend(numbers.drain(numbers.len() - held_out..));
        rest.push(numbers);
    }
    let mut train: Vec<u32> = rest.iter().take(3).flatten().copied().collect();
    while train.len() < TRAIN_PAIRS {
        train.extend(rest.choose(rng).and_then(|numbers| numbers.choose(rng)));
    }
    valid.shuffle(rng);
    train.shuffle(rng);
    let pairs = |numbers: Vec<u32>| numbers.into_iter().map(|n| Pair::new(n.to_string(), number_words(n))).collect();
    (pairs(train), pairs(valid))
}
