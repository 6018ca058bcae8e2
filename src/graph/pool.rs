//! Memory that Programs share.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result, gpu::Gpu};

/// Buffers that Programs share: they never run at the same time, so each may use all of them.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    buffers: Arc<Mutex<Vec<wgpu::Buffer>>>,
}

impl Pool {
    /// A buffer for each of `sizes`; those of the pool first, largest to largest. If memory runs out the pool is as before.
    pub(super) fn take(&self, gpu: &Gpu, label: &str, sizes: &[u64]) -> Result<Vec<wgpu::Buffer>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.size()));
        let mut order: Vec<_> = (0..sizes.len()).collect();
        order.sort_by_key(|slot| std::cmp::Reverse(sizes[*slot]));
        let mut taken: Vec<Option<wgpu::Buffer>> = vec![None; sizes.len()];
        let before = buffers.len();
        let mut available = buffers.clone().into_iter().peekable();
        for slot in order {
            let buffer = match available.next_if(|buffer| buffer.size() >= sizes[slot]) {
                Some(buffer) => buffer,
                None => {
                    let buffer = gpu.buffer("activations", sizes[slot]).map_err(|error| {
                        buffers.truncate(before);
                        of_program(error, label, sizes.iter().sum())
                    })?;
                    buffers.push(buffer.clone());
                    buffer
                }
            };
            taken[slot] = Some(buffer);
        }
        Ok(taken.into_iter().flatten().collect())
    }

    /// The buffers held.
    pub(super) fn held(&self) -> Vec<wgpu::Buffer> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of what was made since the pool held these, for a Program that came to nothing: those of a pool are compiled one after the
    /// other.
    pub(super) fn restore(&self, held: Vec<wgpu::Buffer>) {
        *self.buffers.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).iter().map(wgpu::Buffer::size).sum()
    }
}

/// Adds to an error of memory the Program that wants it, and the bytes that all its activations take.
pub(super) fn of_program(error: Error, label: &str, all: u64) -> Error {
    let within = |what| format!("{label}, whose activations take {all} bytes in all: {what}");
    match error {
        Error::OutOfMemory { what, need, held, free, message } => {
            Error::OutOfMemory { what: within(what), need, held, free, message }
        }
        Error::Limit { what, need, limit, have, remedy } => {
            Error::Limit { what: within(what), need, limit, have, remedy }
        }
        other => other,
    }
}
