//! A value handed from a callback of wgpu to a future.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Gpu;
use crate::Result;

/// Set once by a callback, heard once by [`Gpu::hear`].
#[derive(Debug)]
pub(crate) struct Signal<T> {
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { value: None, waker: None })) }
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<T> Signal<T> {
    pub(crate) fn set(&self, value: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.value = Some(value);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The value, if it is there; else `waker` is woken once it is.
    fn take(&self, waker: &Waker) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.value.is_none() {
            state.waker = Some(waker.clone());
        }
        state.value.take()
    }
}

impl Gpu {
    /// Waits for the value that a callback gives.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device fails before the callback is called.
    pub(crate) async fn hear<T>(&self, signal: &Signal<T>) -> Result<T> {
        poll_fn(|context| self.poll_signal(signal, context)).await
    }

    /// One poll of [`Gpu::hear`].
    pub(crate) fn poll_signal<T>(&self, signal: &Signal<T>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Some(value) = signal.take(context.waker()) {
            return Poll::Ready(Ok(value));
        }
        // A browser calls back on its own. Elsewhere wgpu does so when it is polled, and perhaps nobody else does that.
        if !cfg!(target_family = "wasm") {
            if let Err(error) = self.poll() {
                return Poll::Ready(Err(error));
            }
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
