//! Making tensors, and moving numbers between host and device.

use bytemuck::Pod;

use super::{Dtype, ELEMENT, Gpu, Shape, Tensor, signal::Signal};
use crate::{Error, Result};

impl Gpu {
    /// A buffer of `bytes` (rounded up to 256) that kernels may read and write, and that can be copied both ways.
    ///
    /// # Errors
    /// [`Error::Limit`] over the adapter's binding or buffer limit, [`Error::OutOfMemory`] when memory runs out.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let limits = self.limits();
        let binding = limits.max_storage_buffer_binding_size;
        let (limit, have) = if binding < limits.max_buffer_size {
            ("max_storage_buffer_binding_size", binding)
        } else {
            ("max_buffer_size", limits.max_buffer_size)
        };
        if bytes > have {
            return Err(Error::Limit {
                what: format!("tensor `{label}`"),
                need: bytes,
                limit,
                have,
                remedy: "Use a smaller batch, vocabulary or model, shorter sequences, or another adapter.".into(),
            });
        }
        self.raw_buffer(label, bytes, usage)
    }

    pub(super) fn raw_buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        self.make_buffer(label, bytes, usage, false)
    }

    /// A buffer that the host fills and the device copies from, mapped.
    pub(super) fn staging_buffer(&self, bytes: u64) -> Result<wgpu::Buffer> {
        self.make_buffer("staging", bytes, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC, true)
    }

    fn make_buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
        let size = bytes.max(1).next_multiple_of(256);
        let scopes = self.error_scopes();
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: mapped,
        });
        scopes.finish_making(label, size)?;
        self.count(|counters| {
            counters.buffers += 1;
            counters.bytes += size;
        });
        Ok(buffer)
    }

    /// A small uniform buffer of `words` 32-bit words, as a tensor.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn uniform(&self, label: &str, words: usize) -> Result<Tensor> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.raw_buffer(label, (words as u64).saturating_mul(ELEMENT), usage)?;
        Tensor::new(self, buffer, 0, [words], Dtype::U32)
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] over the adapter's binding or buffer limit, [`Error::OutOfMemory`] when memory runs out.
    pub fn zeros(&self, label: &str, shape: impl Into<Shape>, dtype: Dtype) -> Result<Tensor> {
        let shape = shape.into();
        let buffer = self.buffer(label, (shape.elements() as u64).saturating_mul(dtype.bytes()))?;
        Tensor::new(self, buffer, 0, shape, dtype)
    }

    /// A tensor that holds `values` (`f32`, `u32` or the bits of an f16, by `dtype`).
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit ([`Gpu::buffer`]); [`Error::Shape`] if the shape does not
    /// hold as many values.
    pub fn tensor<T: Pod>(&self, label: &str, shape: impl Into<Shape>, dtype: Dtype, values: &[T]) -> Result<Tensor> {
        let tensor = self.zeros(label, shape, dtype)?;
        self.write(&tensor, values)?;
        Ok(tensor)
    }

    /// A tensor of `f32` or f16 that holds `values`, rounded to the nearest in f16.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn floats(&self, label: &str, shape: impl Into<Shape>, dtype: Dtype, values: &[f32]) -> Result<Tensor> {
        self.tensor(label, shape, dtype, &dtype.encode(values))
    }

    /// Whether a tensor is this device's.
    pub(super) fn check_device(&self, operation: &'static str, tensor: &Tensor) -> Result<()> {
        if tensor.is_on(self) {
            return Ok(());
        }
        let (wanted, got) = ("one of this device".into(), format!("another's {}", tensor.shape()));
        Err(Error::Shape { operation, argument: "tensor", wanted, got })
    }

    /// Writes `values` into `tensor` before the next submit.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of values is not the tensor's, or it is of another device.
    pub fn write<T: Pod>(&self, tensor: &Tensor, values: &[T]) -> Result<()> {
        self.check_device("write", tensor)?;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.len() as u64 != tensor.bytes() {
            return Err(Error::Shape {
                operation: "write",
                argument: "values",
                wanted: format!("{} elements for {}", tensor.elements(), tensor.shape()),
                got: format!("{} bytes", bytes.len()),
            });
        }
        if bytes.len() as u64 == tensor.copied_bytes() {
            self.queue().write_buffer(tensor.buffer(), tensor.offset(), bytes);
        } else {
            let mut padded = bytes.to_vec();
            padded.resize(tensor.copied_bytes() as usize, 0);
            self.queue().write_buffer(tensor.buffer(), tensor.offset(), &padded);
        }
        Ok(())
    }

    /// Writes all bytes of a tensor, from pieces that each say the byte at which it begins there: they are gathered where the device
    /// takes them from.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Gpu`] if the device takes none.
    #[cfg(feature = "train")]
    pub(crate) fn write_pieces<'a>(
        &self,
        tensor: &Tensor,
        pieces: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> Result<()> {
        let Some(bytes) = wgpu::BufferSize::new(tensor.bytes()) else { return Ok(()) };
        let view = self.queue().write_buffer_with(tensor.buffer(), tensor.offset(), bytes);
        let mut view = view.ok_or_else(|| self.explain(format!("no room for {bytes} bytes on their way")))?;
        for (place, piece) in pieces {
            view.slice(place..place + piece.len()).copy_from_slice(piece);
        }
        Ok(())
    }

    /// A buffer that the host can map for reading.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn readback_buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        self.raw_buffer(label, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// Reads a tensor back, waiting for everything submitted before.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if its elements are smaller than `T`.
    pub fn read<T: Pod>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        self.read_through(&self.readback_buffer("readback", tensor.bytes())?, tensor)
    }

    /// Reads a tensor of `f32` or f16 as `f32`, waiting for it.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if its elements are smaller than `T`.
    pub fn read_floats(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(tensor.dtype().decode(&self.read::<u8>(tensor)?))
    }

    /// Reads a tensor without blocking the thread: other tasks go on meanwhile. Outside a browser the future polls the device
    /// whenever its executor lets it.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if its elements are smaller than `T`.
    pub async fn read_async<T: Pod>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        let staging = self.readback_buffer("readback", tensor.bytes())?;
        let (_, mapped) = self.copy_back::<T>(&staging, tensor)?;
        self.hear(&mapped).await?;
        self.take_back(&staging, tensor)
    }

    /// Reads a tensor of `f32` or f16 as `f32`, without blocking the thread.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if its elements are smaller than `T`.
    pub async fn read_floats_async(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(tensor.dtype().decode(&self.read_async::<u8>(tensor).await?))
    }

    /// Reads a tensor through a [`Gpu::readback_buffer`] that the caller keeps, so that none is made.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if the buffer is smaller than the tensor,
    /// or the tensor's elements are smaller than `T`.
    pub fn read_through<T: Pod>(&self, staging: &wgpu::Buffer, tensor: &Tensor) -> Result<Vec<T>> {
        let (submission, _) = self.copy_back::<T>(staging, tensor)?;
        self.wait(Some(submission))?;
        self.take_back(staging, tensor)
    }

    /// Submits the copy of a tensor to `staging`, and asks for that to be mapped, which the signal tells.
    pub(crate) fn copy_back<T: Pod>(
        &self,
        staging: &wgpu::Buffer,
        tensor: &Tensor,
    ) -> Result<(wgpu::SubmissionIndex, Signal<()>)> {
        self.check_device("read", tensor)?;
        if staging.size() < tensor.copied_bytes() {
            return Err(Error::Shape {
                operation: "read",
                argument: "staging",
                wanted: format!("a buffer of at least {} bytes", tensor.copied_bytes()),
                got: format!("{} bytes", staging.size()),
            });
        }
        if size_of::<T>() as u64 > tensor.dtype().bytes() {
            return Err(Error::Shape {
                operation: "read",
                argument: "tensor",
                wanted: format!("elements of {} bytes", size_of::<T>()),
                got: tensor.dtype().to_string(),
            });
        }
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
        encoder.copy_buffer_to_buffer(tensor.buffer(), tensor.offset(), staging, 0, tensor.copied_bytes());
        let submission = self.queue().submit([encoder.finish()]);
        self.count_readback();
        let signal = Signal::default();
        let mapped = signal.clone();
        // A failure shows when the range is taken.
        staging.slice(..).map_async(wgpu::MapMode::Read, move |_| mapped.set(()));
        Ok((submission, signal))
    }

    /// The values in `staging`, which is mapped, or else why it is not.
    pub(crate) fn take_back<T: Pod>(&self, staging: &wgpu::Buffer, tensor: &Tensor) -> Result<Vec<T>> {
        let mapped = staging.slice(..tensor.copied_bytes()).get_mapped_range();
        let mapped = mapped.map_err(|error| self.explain(error.to_string()))?;
        let values = bytemuck::pod_collect_to_vec(&mapped[..tensor.bytes() as usize]);
        drop(mapped);
        staging.unmap();
        Ok(values)
    }

    /// A copy to the host has been submitted.
    pub(crate) fn count_readback(&self) {
        self.count(|counters| {
            counters.submits += 1;
            counters.readbacks += 1;
        });
    }
}
