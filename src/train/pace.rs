//! The speed of a run, from its recent steps.

use std::{collections::VecDeque, time::Instant};

/// The steps whose speed is taken for that of the run, at most: some minutes of a slow run, and every shape of batch.
const RECENT: usize = 100;
/// The steps that wait for kernels to be compiled, from the one that asks for them on: a driver may do it at the first dispatch,
/// and two steps are under way.
const UNSETTLED: u32 = 3;

/// Seconds and target tokens of recent steps, but for those that waited for kernels to be compiled.
#[derive(Debug)]
pub(super) struct Pace {
    recent: VecDeque<(f64, u64)>,
    /// Of the others, as long as there are no such steps: seconds, tokens and their number.
    unsettled: (f64, u64, usize),
    /// The number of steps to come that wait.
    wait: u32,
    since: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self { recent: VecDeque::with_capacity(RECENT), unsettled: (0.0, 0, 0), wait: 0, since: Instant::now() }
    }

    /// The time until now is that of a step; `compiled` says whether kernels had to be compiled for it.
    pub fn step(&mut self, tokens: u64, compiled: bool) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.record(seconds, tokens, compiled);
    }

    /// The time until now is not that of a step.
    pub fn pause(&mut self) {
        self.since = Instant::now();
    }

    fn record(&mut self, seconds: f64, tokens: u64, compiled: bool) {
        if compiled {
            self.wait = UNSETTLED;
        }
        if self.wait > 0 {
            self.wait -= 1;
            let (all_seconds, all_tokens, steps) = &mut self.unsettled;
            (*all_seconds, *all_tokens, *steps) = (*all_seconds + seconds, *all_tokens + tokens, *steps + 1);
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seconds, tokens));
    }

    fn sums(&self) -> (f64, u64, usize) {
        match self.recent.len() {
            0 => self.unsettled,
            steps => (
                self.recent.iter().map(|(seconds, _)| seconds).sum(),
                self.recent.iter().map(|(_, tokens)| tokens).sum(),
                steps,
            ),
        }
    }

    /// Target tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        let (seconds, tokens, _) = self.sums();
        tokens as f64 / seconds.max(1e-9)
    }

    /// Seconds per step, if there was any.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let (seconds, _, steps) = self.sums();
        (steps > 0).then(|| seconds / steps as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_compilation_does_not_count() {
        let mut pace = Pace::new();
        assert_eq!(pace.seconds_per_step(), None);
        pace.record(60.0, 100, true);
        assert_eq!(
            (pace.seconds_per_step(), pace.tokens_per_second()),
            (Some(60.0), 100.0 / 60.0),
            "better than nothing"
        );
        for seconds in [2.0, 30.0, 0.5, 1.5] {
            pace.record(seconds, 100, false);
        }
        assert_eq!((pace.seconds_per_step(), pace.tokens_per_second()), (Some(1.0), 100.0));
        // Another shape, in the middle of the run.
        for (seconds, compiled) in [(40.0, true), (9.0, false), (9.0, false), (1.0, false)] {
            pace.record(seconds, 100, compiled);
        }
        assert_eq!(pace.seconds_per_step(), Some(1.0));
        // What was long ago does not count either.
        (0..RECENT).for_each(|_| pace.record(0.25, 100, false));
        assert_eq!((pace.seconds_per_step(), pace.tokens_per_second()), (Some(0.25), 400.0));
    }
}
