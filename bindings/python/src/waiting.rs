//! Waiting for the device where a signal of the keyboard ends it.

use std::{
    cell::Cell,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread::sleep,
    time::{Duration, Instant},
};

use pyo3::{PyResult, Python};
use softalign::Result;

use crate::exceptions::raise;

/// Time between two looks at the device.
const LOOK: Duration = Duration::from_micros(200);
/// Time between two looks at signals, for which other threads of Python must be waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// What looks at signals now and then. For threads that are detached from Python.
pub struct Signals {
    looked: Cell<Instant>,
}

impl Signals {
    pub fn new() -> Self {
        Self { looked: Cell::new(Instant::now()) }
    }

    /// The exception of a signal that has come, such as `KeyboardInterrupt`, if it is time to look.
    pub fn check(&self) -> PyResult<()> {
        if self.looked.get().elapsed() < PAUSE {
            return Ok(());
        }
        self.looked.set(Instant::now());
        Python::attach(|py| py.check_signals())
    }
}

/// The result of a future, or the exception of a signal that came before it; the future is then dropped, which ends its work. For
/// threads that are detached from Python.
pub fn interruptible<T>(future: impl Future<Output = Result<T>>) -> PyResult<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let signals = Signals::new();
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result.map_err(raise);
        }
        signals.check()?;
        sleep(LOOK);
    }
}

/// What a lock guards, also where a thread has panicked with it. For threads that are detached from Python: one that waits attached
/// would keep the owner from looking at signals.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
