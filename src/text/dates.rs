//! The task `dates`: dates as people write them to ISO 8601, and back.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Pair;
use super::sizes::{TRAIN_PAIRS, VALID_PAIRS};

/// The first and the last year that the task knows.
pub const YEARS: std::ops::RangeInclusive<u32> = 1800..=2099;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A day of the Gregorian calendar, with its weekday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Date {
    year: u32,
    month: u32,
    day: u32,
    weekday: &'static str,
}

/// The number of days of a month (1 to 12).
pub fn days_in_month(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Every day of [`YEARS`], in order.
pub fn calendar() -> Vec<Date> {
    // 1 January 1800 was a Wednesday; from there the days are counted.
    let mut weekdays = WEEKDAYS.iter().copied().cycle().skip(2);
    let mut days = Vec::new();
    for year in YEARS {
        for month in 1..=12 {
            for day in 1..=days_in_month(year, month) {
                let weekday = weekdays.next().unwrap_or_default();
                days.push(Date { year, month, day, weekday });
            }
        }
    }
    days
}

impl Date {
    /// `1998-05-09`.
    pub fn iso(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// The one form that an ISO date is turned back into: `9 May 1998`.
    pub fn written(&self) -> String {
        format!("{} {} {}", self.day, self.month_name(), self.year)
    }

    /// Every form that is turned into ISO. Numbers between slashes are there only where no reading of day and month
    /// is left open: `25/12/1998`, `12/25/1998` and `05/05/1998`, but not `05/09/1998`.
    pub fn forms(&self) -> Vec<String> {
        let Self { year, month, day, weekday } = *self;
        let name = self.month_name();
        // English month names are ASCII, so their first three bytes are three letters.
        let short = name.get(..3).unwrap_or(name);
        let nth = format!("{day}{}", ordinal_suffix(day));
        let mut forms = vec![
            self.written(),
            format!("{name} {day}, {year}"),
            format!("{nth} of {name} {year}"),
            format!("{nth} {name} {year}"),
            format!("{name} {nth}, {year}"),
            format!("{day} {short} {year}"),
            format!("{short} {day}, {year}"),
            format!("{day:02}-{short}-{year}"),
            format!("{weekday} {day} {name} {year}"),
            format!("{weekday}, {name} {day}, {year}"),
            format!("{weekday} the {nth} of {name} {year}"),
            format!("{year} {name} {day}"),
            format!("{year}/{month:02}/{day:02}"),
        ];
        if day > 12 {
            forms.push(format!("{month:02}/{day:02}/{year}"));
        }
        if day > 12 || day == month {
            forms.push(format!("{day:02}/{month:02}/{year}"));
        }
        forms
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(self.month.saturating_sub(1) as usize).copied().unwrap_or_default()
    }
}

/// The letters after a day: `st`, `nd`, `rd` or `th`.
fn ordinal_suffix(day: u32) -> &'static str {
    match (day, day % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// Training and validation pairs, which share no day in any form.
///
/// One pair in three turns ISO into [`Date::written`]; the others turn one of [`Date::forms`] into ISO.
pub(super) fn generate(rng: &mut ChaCha8Rng) -> (Vec<Pair>, Vec<Pair>) {
    let mut days = calendar();
    days.shuffle(rng);
    let valid = days.split_off(days.len().saturating_sub(VALID_PAIRS));
    let valid = valid.iter().map(|date| pair(date, rng)).collect();
    let mut train = Vec::with_capacity(TRAIN_PAIRS);
    while let Some(date) = days.choose(rng).filter(|_| train.len() < TRAIN_PAIRS) {
        train.push(pair(date, rng));
    }
    (train, valid)
}

/// One pair of this date.
fn pair(date: &Date, rng: &mut ChaCha8Rng) -> Pair {
    if rng.random_ratio(1, 3) {
        return Pair::new(date.iso(), date.written());
    }
    Pair::new(date.forms().choose(rng).map_or_else(|| date.written(), String::clone), date.iso())
}
