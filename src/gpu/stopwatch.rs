//! A clock that does without one: in a browser the standard library's would panic.

use std::time::{Duration, Instant};

/// The time since it was started; in a browser none at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    start: Option<Instant>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { start: (!cfg!(target_family = "wasm")).then(Instant::now) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.map_or(Duration::ZERO, |start| start.elapsed())
    }
}
