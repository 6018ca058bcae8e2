//! Signals that ask a long task to stop where it can save what it has: Ctrl-C, a request to end, and a terminal that is gone.
//! Asked again after a moment, it ends the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Signals that come together are one request: `timeout` and shells that end send theirs twice.
const TOGETHER: Duration = Duration::from_secs(1);

/// A flag that these signals set.
pub fn flag() -> Arc<AtomicBool> {
    flag_and(|| ())
}

/// A flag that these signals set; then they call `wake`, for a task that waits for something else.
pub fn flag_and(mut wake: impl FnMut() + Send + 'static) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let mut first = None;
    let handler = move || {
        flag.store(true, Ordering::Relaxed);
        wake();
        if first.get_or_insert_with(Instant::now).elapsed() > TOGETHER {
            // All work since the last save is lost.
            std::process::exit(130);
        }
    };
    if let Err(error) = keeping_ignored_hangups(|| ctrlc::set_handler(handler)) {
        tracing::warn!("Ctrl-C will not save anything: {error}");
    }
    stop
}

/// Under `nohup` a terminal that is gone is no reason to stop: where that signal was ignored before `handle`, it stays so.
#[cfg(unix)]
fn keeping_ignored_hangups<T>(handle: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigHandler, Signal, signal};
    #[expect(unsafe_code, reason = "there is no other way to ask; neither of the two handlers runs any code of ours")]
    let set = |handler| unsafe { signal(Signal::SIGHUP, handler) };
    let before = set(SigHandler::SigIgn);
    let result = handle();
    if matches!(before, Ok(SigHandler::SigIgn)) {
        let _ = set(SigHandler::SigIgn);
    }
    result
}

#[cfg(not(unix))]
fn keeping_ignored_hangups<T>(handle: impl FnOnce() -> T) -> T {
    handle()
}
