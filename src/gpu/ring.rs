//! A ring of mapped buffers through which small uploads reach the device, in the same submit as what needs them.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, Tensor};
use crate::{Error, Result};

/// Staging buffers of one size. Each comes back, mapped again, when the device has read it.
#[derive(Debug)]
pub struct Ring {
    gpu: Gpu,
    bytes: u64,
    idle: Vec<wgpu::Buffer>,
    back: Arc<Mutex<Vec<wgpu::Buffer>>>,
}

impl Ring {
    /// A ring for uploads of up to `bytes` at a time, with as many buffers as two submits under way and a third leave in use.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Self> {
        let idle = (0..3).map(|_| gpu.staging_buffer(bytes)).collect::<Result<_>>()?;
        Ok(Self { gpu: gpu.clone(), bytes, idle, back: Arc::default() })
    }

    /// Bytes of the buffers that it was made with.
    pub fn bytes(&self) -> u64 {
        3 * self.bytes.max(1).next_multiple_of(256)
    }

    /// Encodes the upload of each tensor's bytes. Makes a buffer only for more bytes, or more submits under way, than the
    /// ring was made for.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the bytes are not as many as the tensor's, or it is of another device;
    /// [`crate::Error::OutOfMemory`] when memory runs out, [`crate::Error::DeviceLost`] when the device is.
    pub fn upload(&mut self, encoder: &mut wgpu::CommandEncoder, writes: &[(Tensor, Vec<u8>)]) -> Result<()> {
        for (tensor, bytes) in writes {
            self.gpu.check_device("upload", tensor)?;
            if bytes.len() as u64 != tensor.bytes() {
                let (wanted, got) = (format!("{} bytes", tensor.bytes()), format!("{} bytes", bytes.len()));
                return Err(Error::Shape { operation: "upload", argument: "bytes", wanted, got });
            }
        }
        self.idle.append(&mut self.back.lock().unwrap_or_else(PoisonError::into_inner));
        let needed: u64 = writes.iter().map(|(tensor, _)| tensor.copied_bytes()).sum();
        self.bytes = self.bytes.max(needed);
        self.idle.retain(|buffer| buffer.size() >= needed);
        let buffer = match self.idle.pop() {
            Some(buffer) => buffer,
            None => self.gpu.staging_buffer(self.bytes)?,
        };
        let mapped = buffer.slice(..).get_mapped_range_mut();
        let mut mapped = mapped.map_err(|error| self.gpu.explain(error.to_string()))?;
        let mut offset = 0;
        for (tensor, bytes) in writes {
            mapped.slice(offset..offset + bytes.len()).copy_from_slice(bytes);
            let copied = tensor.copied_bytes();
            encoder.copy_buffer_to_buffer(&buffer, offset as u64, tensor.buffer(), tensor.offset(), copied);
            offset += copied as usize;
        }
        drop(mapped);
        buffer.unmap();
        let (back, returned) = (self.back.clone(), buffer.clone());
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Write, .., move |result| {
            if result.is_ok() {
                back.lock().unwrap_or_else(PoisonError::into_inner).push(returned);
            }
        });
        Ok(())
    }
}
