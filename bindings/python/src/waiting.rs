//! Waiting for the device where a signal of the keyboard ends it.

use std::{
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
/// Time between two looks at signals, for which Python must be waited for.
const SIGNALS: Duration = Duration::from_millis(50);

/// The result of a future, or the exception of a signal that came before it; the future is then dropped, which ends its work. For
/// threads that are detached from Python.
pub fn interruptible<T>(future: impl Future<Output = Result<T>>) -> PyResult<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut looked = Instant::now();
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result.map_err(raise);
        }
        if looked.elapsed() > SIGNALS {
            check_signals()?;
            looked = Instant::now();
        }
        sleep(LOOK);
    }
}

/// The exception of a signal that has come, such as `KeyboardInterrupt`. For threads that are detached from Python.
pub fn check_signals() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}

/// What a lock guards, also where a thread has panicked with it. For threads that are detached from Python: one that waits attached
/// would keep the owner from looking at signals.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
