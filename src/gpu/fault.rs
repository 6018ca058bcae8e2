//! Faults that drivers report out of band, turned into [`Error`]s.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{Gpu, signal::Signal};
use crate::{Error, Result};

/// Messages of the device-lost and uncaptured-error callbacks, and the Program and step last submitted.
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
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::<Self>::default();
        faults.watch_loss(device);
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| set(&uncaptured.uncaptured, error.to_string())));
        faults
    }

    /// A loss alone. In a browser it is a promise, and has room for many callbacks.
    pub(super) fn watch_loss(self: &Arc<Self>, device: &wgpu::Device) {
        let faults = self.clone();
        device.set_device_lost_callback(move |reason, message| set(&faults.lost, format!("{reason:?}: {message}")));
    }
}

/// Detects the loss of a device whose callbacks belong to its owner (wgpu keeps one of each): a lost device refuses at once to
/// map a buffer, where any other answers later.
#[derive(Debug)]
pub(super) struct Probe {
    buffer: Mutex<wgpu::Buffer>,
}

impl Probe {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: wgpu::COPY_BUFFER_ALIGNMENT,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { buffer: Mutex::new(buffer) }
    }

    fn look(&self, faults: &Faults) {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if get(&faults.lost).is_some() {
            return;
        }
        let refused = Arc::new(AtomicBool::new(false));
        let told = refused.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| told.store(result.is_err(), Ordering::Relaxed));
        if refused.load(Ordering::Relaxed) {
            set(&faults.lost, "it takes no more work; what its owner's callback was told says why".into());
        } else {
            buffer.unmap();
        }
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

    /// Closes the scopes around the making of something that takes `bytes` of the device's memory.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`], or else [`Error::Gpu`].
    pub(super) fn finish_making(self, label: &str, bytes: u64) -> Result<()> {
        let gpu = self.gpu.clone();
        self.finish_as(|error| match error {
            wgpu::Error::OutOfMemory { .. } => gpu.out_of_memory(label, bytes, &error),
            error => {
                Error::Gpu { kernel: format!("allocating {bytes} bytes for `{label}`"), message: error.to_string() }
            }
        })
    }

    /// Closes the scopes; `explain` turns the driver's first error, on a device that is not lost, into this crate's.
    fn finish_as(self, explain: impl FnOnce(wgpu::Error) -> Error) -> Result<()> {
        let mut first = None;
        for scope in self.scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            first = first.or(error);
        }
        match first {
            // A lost device makes nothing, and no scope is told.
            None => self.gpu.check(),
            // A device that is gone refuses everything, and its own callback says why.
            Some(error) => {
                let _ = self.gpu.device().poll(wgpu::PollType::Poll);
                Err(self.gpu.check().err().unwrap_or_else(|| explain(error)))
            }
        }
    }
}

impl Gpu {
    /// None in a browser: there a scope answers after the call that it is about, and what is wrong shows in [`Gpu::check`].
    pub(super) fn error_scopes(&self) -> ErrorScopes {
        let filters: &[_] = if cfg!(target_family = "wasm") {
            &[]
        } else {
            &[wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal]
        };
        let scopes = filters.iter().map(|filter| self.device().push_error_scope(*filter)).collect();
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
        if let Some(probe) = &self.inner.probe {
            probe.look(faults);
        }
        let (program, step) = faults.submitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(message) = get(&faults.lost) {
            return Err(Error::DeviceLost { program, step, message });
        }
        match get(&faults.uncaptured) {
            Some(message) => Err(Error::Gpu { kernel: format!("{program}, step {step}"), message }),
            None => Ok(()),
        }
    }

    /// Polls the device without waiting, then reports any fault ([`Gpu::check`]).
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device failed.
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
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device failed; [`Error::Gpu`] in a browser, which lets nothing wait: use
    /// [`Gpu::wait_async`].
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        if cfg!(target_family = "wasm") {
            let message = "a browser lets nothing wait; use the functions whose names end in `_async`".into();
            return Err(Error::Gpu { kernel: self.submitted(), message });
        }
        self.count(|counters| counters.waits += 1);
        let polled = self.device().poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        polled.map(|_| ()).map_err(|error| self.explain(error.to_string()))
    }

    /// Waits until everything submitted so far is done, without blocking the thread: other tasks go on meanwhile.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device failed.
    pub async fn wait_async(&self) -> Result<()> {
        self.count(|counters| counters.waits += 1);
        let done = Signal::default();
        let signal = done.clone();
        self.queue().on_submitted_work_done(move || signal.set(()));
        self.hear(&done).await?;
        self.check()
    }

    /// Waits ([`Gpu::wait`]), so that work does not pile up; in a browser, whose queue sees to that, only checks for faults.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device failed.
    pub(crate) fn pace(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        if cfg!(target_family = "wasm") { self.check() } else { self.wait(submission) }
    }
}
