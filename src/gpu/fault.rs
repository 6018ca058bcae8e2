//! What drivers report out of band, turned into [`Error`]s.

use std::sync::{Arc, Mutex, PoisonError};

use super::Gpu;
use crate::{Error, Result};

/// What the device-lost and uncaptured-error callbacks have left, and what was last submitted.
#[derive(Debug, Default)]
pub(super) struct Faults {
    lost: Mutex<Option<String>>,
    uncaptured: Mutex<Option<String>>,
    submitted: Mutex<(String, u64)>,
}

fn set(slot: &Mutex<Option<String>>, message: String) {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.get_or_insert(message);
}

fn get(slot: &Mutex<Option<String>>) -> Option<String> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Faults {
    /// Registers the callbacks on a device that is this crate's own.
    pub(super) fn watch(self: &Arc<Self>, device: &wgpu::Device) {
        let faults = self.clone();
        device.set_device_lost_callback(move |reason, message| set(&faults.lost, format!("{reason:?}: {message}")));
        let faults = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| set(&faults.uncaptured, error.to_string())));
    }
}

/// Error scopes around a piece of work; [`ErrorScopes::finish`] names the work if anything went wrong.
pub(super) struct ErrorScopes {
    gpu: Gpu,
    scopes: Vec<wgpu::ErrorScopeGuard>,
}

impl ErrorScopes {
    /// # Errors
    /// [`Error::DeviceLost`], or else [`Error::Gpu`].
    pub(super) fn finish(self, kernel: &str) -> Result<()> {
        self.finish_as(|error| Error::Gpu { kernel: kernel.to_owned(), message: error.to_string() })
    }

    /// As [`ErrorScopes::finish`], with words for what the driver says of a device that is not lost.
    pub(super) fn finish_as(self, explain: impl FnOnce(wgpu::Error) -> Error) -> Result<()> {
        let mut first = None;
        for scope in self.scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            first = first.or(error);
        }
        match first {
            None => Ok(()),
            // A device that is gone refuses everything, and its own callback says why.
            Some(error) => {
                let _ = self.gpu.device().poll(wgpu::PollType::Poll);
                Err(self.gpu.check().err().unwrap_or_else(|| explain(error)))
            }
        }
    }
}

impl Gpu {
    pub(super) fn error_scopes(&self) -> ErrorScopes {
        let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];
        let scopes = filters.into_iter().map(|filter| self.device().push_error_scope(filter)).collect();
        ErrorScopes { gpu: self.clone(), scopes }
    }

    /// Remembers what is being submitted, for the message of a lost device.
    pub(super) fn note_submission(&self, program: &str, step: u64) {
        let mut submitted = self.inner.faults.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        if submitted.0 != program {
            program.clone_into(&mut submitted.0);
        }
        submitted.1 = step;
    }

    /// Whether the driver has reported a fault since the device was made.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`], naming the Program and step last submitted.
    pub fn check(&self) -> Result<()> {
        let faults = &self.inner.faults;
        let (program, step) = faults.submitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(message) = get(&faults.lost) {
            return Err(Error::DeviceLost { program, step, message });
        }
        match get(&faults.uncaptured) {
            Some(message) => Err(Error::Gpu { kernel: format!("{program}, step {step}"), message }),
            None => Ok(()),
        }
    }

    /// Lets the driver say what has happened meanwhile, without waiting; then as [`Gpu::check`].
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn poll(&self) -> Result<()> {
        let polled = self.device().poll(wgpu::PollType::Poll);
        self.check()?;
        polled.map(|_| ()).map_err(|error| self.explain(error.to_string()))
    }

    /// The error behind a failure: a lost device, if that is what it comes from once the driver has had its say.
    pub(super) fn explain(&self, message: String) -> Error {
        let _ = self.device().poll(wgpu::PollType::wait_indefinitely());
        self.check().err().unwrap_or_else(|| Error::Gpu { kernel: self.submitted(), message })
    }

    /// The Program and step last submitted.
    fn submitted(&self) -> String {
        let submitted = self.inner.faults.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}, step {}", submitted.0, submitted.1)
    }

    /// Waits until `submission`, or everything submitted so far, is done.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.count(|counters| counters.waits += 1);
        let polled = self.device().poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        polled.map(|_| ()).map_err(|error| self.explain(error.to_string()))
    }
}
