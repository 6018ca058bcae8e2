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
}

enum Form {
    Bar(ProgressBar),
    Lines { total: Option<u64>, unit: &'static str, started: Instant, last: Instant },
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
            let now = Instant::now();
            Form::Lines { total, unit, started: now, last: now }
        };
        Self { form, first: None }
    }

    /// Corrects the total, where it is only an estimate.
    pub fn set_total(&mut self, corrected: Option<u64>) {
        match &mut self.form {
            Form::Bar(bar) => corrected.into_iter().for_each(|total| bar.set_length(total)),
            Form::Lines { total, .. } => *total = corrected,
            Form::Nothing => {}
        }
    }

    /// Moves to `position`; `message` says what matters now.
    pub fn update(&mut self, position: u64, message: &str) {
        let is_first = self.first.is_none();
        let first = *self.first.get_or_insert(position);
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(message.to_owned());
                if is_first {
                    bar.reset_eta();
                }
            }
            Form::Lines { total, unit, started, last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                output::note(&line(*total, unit, started.elapsed(), first, position, message));
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
        Some(total) => (
            ProgressBar::new(total),
            format!("{{bar:24.blue}} {{pos}}/{{len}} {unit}  {{msg}}  {{elapsed}}, {{eta}} left"),
        ),
        None => (ProgressBar::new_spinner(), format!("{{spinner:.blue}} {{pos}} {unit}  {{msg}}  {{elapsed}}")),
    };
    bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn line(total: Option<u64>, unit: &str, elapsed: Duration, first: u64, position: u64, message: &str) -> String {
    let message = if message.is_empty() { String::new() } else { format!("  {message}") };
    let Some(total) = total else { return format!("{position} {unit}{message}  {}", HumanDuration(elapsed)) };
    let left = match position - first.min(position) {
        0 => String::new(),
        done => {
            let left = elapsed.as_secs_f64() / done as f64 * total.saturating_sub(position) as f64;
            // A rate that is hardly known yet can make this larger than a Duration holds.
            let left = Duration::try_from_secs_f64(left.round()).unwrap_or(Duration::MAX);
            format!(", {} left", HumanDuration(left))
        }
    };
    format!("{position}/{total} {unit}{message}  {}{left}", HumanDuration(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_and_how_long() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            line(Some(300), "steps", minute, 0, 100, "loss 1.5"),
            "100/300 steps  loss 1.5  60 seconds, 2 minutes left"
        );
        assert_eq!(line(Some(300), "steps", minute, 100, 100, ""), "100/300 steps  60 seconds");
        assert_eq!(line(None, "lines", minute, 0, 7, ""), "7 lines  60 seconds");
    }

    #[test]
    fn a_resumed_run_estimates_from_its_own_steps() {
        let text = line(Some(300), "steps", Duration::from_secs(100), 100, 200, "");
        assert_eq!(text, "200/300 steps  2 minutes, 2 minutes left");
    }
}
