//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere, nothing with `-q`.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::{
    Global,
    output::{self, BARS},
};

/// The least time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A progress bar of a long task. Dropping it takes the bar off the screen.
pub struct Bar {
    form: Form,
    /// The position at which the work of this process began, which is not 0 in a resumed run.
    pub(super) first: Option<u64>,
    started: Instant,
}

enum Form {
    Bar(ProgressBar),
    Lines { total: Option<u64>, unit: &'static str, last: Instant },
    Nothing,
}

impl Bar {
    /// A bar for `total` of what `unit` names, such as "steps"; without a total it counts only.
    pub fn new(global: &Global, total: Option<u64>, unit: &'static str) -> Self {
        let form = if global.quiet {
            Form::Nothing
        } else if stderr().is_terminal() {
            Form::Bar(BARS.add(styled(total, unit)))
        } else {
            Form::Lines { total, unit, last: Instant::now() }
        };
        Self { form, first: None, started: Instant::now() }
    }

    /// Corrects the total, where it is only an estimate.
    pub fn set_total(&mut self, corrected: Option<u64>) {
        match &mut self.form {
            Form::Bar(bar) => corrected.into_iter().for_each(|total| bar.set_length(total)),
            Form::Lines { total, .. } => *total = corrected,
            Form::Nothing => {}
        }
    }

    /// Moves to `position`; `message` says what matters now. The time left is that of all that is left at the mean speed so far.
    pub fn update(&mut self, position: u64, message: &str) {
        let total = match &self.form {
            Form::Bar(bar) => bar.length(),
            Form::Lines { total, .. } => *total,
            Form::Nothing => return,
        };
        let first = *self.first.get_or_insert(position);
        let left = total.and_then(|total| left(self.started.elapsed(), first, position, total));
        self.update_with(position, message, left);
    }

    /// As [`Bar::update`], with the time left, where that is known better.
    pub fn update_with(&mut self, position: u64, message: &str, left: Option<Duration>) {
        self.first.get_or_insert(position);
        let elapsed = self.started.elapsed();
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(message.to_owned());
                bar.set_prefix(remaining(left));
            }
            Form::Lines { total, unit, last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                output::note(&line(*total, unit, position, message, elapsed, left));
            }
            Form::Lines { .. } | Form::Nothing => {}
        }
    }

    /// Prints a line above the bar; nothing with `-q`.
    pub fn println(&self, line: &str) {
        if !matches!(self.form, Form::Nothing) {
            output::note(line);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

fn styled(total: Option<u64>, unit: &'static str) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), format!("{{bar:24.blue}} {{pos}}/{{len}} {unit}  {{msg}}  {{elapsed}}{{prefix}}"))
        }
        None => (ProgressBar::new_spinner(), format!("{{spinner:.blue}} {{pos}} {unit}  {{msg}}  {{elapsed}}")),
    };
    bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The time that is left at the mean speed from `first` on, if any is known.
fn left(elapsed: Duration, first: u64, position: u64, total: u64) -> Option<Duration> {
    let done = position.saturating_sub(first);
    let seconds = elapsed.as_secs_f64() / done as f64 * total.saturating_sub(position) as f64;
    (done > 0).then(|| duration(seconds))
}

/// A length of time in seconds; a speed that is hardly known yet can make it larger than a Duration holds.
pub fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX)
}

fn remaining(left: Option<Duration>) -> String {
    left.map_or_else(String::new, |left| format!(", {} left", HumanDuration(left)))
}

fn line(
    total: Option<u64>,
    unit: &str,
    position: u64,
    message: &str,
    elapsed: Duration,
    left: Option<Duration>,
) -> String {
    let total = total.map_or_else(String::new, |total| format!("/{total}"));
    let message = if message.is_empty() { String::new() } else { format!("  {message}") };
    format!("{position}{total} {unit}{message}  {}{}", HumanDuration(elapsed), remaining(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_say_how_far_and_how_long() {
        let shown = |total, position, message, left| line(total, "steps", position, message, MINUTE, left);
        assert_eq!(
            shown(Some(300), 100, "loss 1.5", Some(2 * MINUTE)),
            "100/300 steps  loss 1.5  60 seconds, 2 minutes left"
        );
        assert_eq!(shown(Some(300), 100, "", None), "100/300 steps  60 seconds");
        assert_eq!(shown(None, 7, "", None), "7 steps  60 seconds");
    }

    #[test]
    fn a_resumed_run_estimates_from_its_own_steps() {
        assert_eq!(left(Duration::from_secs(100), 100, 200, 300), Some(Duration::from_secs(100)));
        assert_eq!(left(MINUTE, 100, 100, 300), None);
        assert_eq!(duration(f64::MAX), Duration::MAX);
    }
}
