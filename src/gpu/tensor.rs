//! Shapes, element types and windows of GPU buffers.

use std::fmt;

use half::f16;

use super::Gpu;
use crate::{Error, Result};

/// The extents of a tensor, slowest first, as in `[B, T, H]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of elements; `usize::MAX` for more than that, which no tensor has.
    pub fn elements(&self) -> usize {
        product(&self.0)
    }

    /// The last extent (1 for a scalar).
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// The number of rows when all but the last extent are folded into one.
    pub fn rows(&self) -> usize {
        product(self.0.split_last().map_or(&[], |(_, rows)| rows))
    }
}

/// The product of some extents; `usize::MAX` where it is larger than that.
pub(crate) fn product(extents: &[usize]) -> usize {
    // A zero among them makes it zero, whatever the others are.
    if extents.contains(&0) {
        0
    } else {
        extents.iter().fold(1, |product: usize, extent| product.saturating_mul(*extent))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (index, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if index == 0 { "" } else { ", " })?;
        }
        write!(f, "]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    #[default]
    F32,
    /// 16-bit float, where the adapter has it ([`crate::gpu::Tiles::f16`]): what a training graph keeps of activations and their
    /// gradients. Kernels compute in f32 all the same.
    F16,
    /// 32-bit unsigned integer: tokens, lengths, indices.
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::U32 => ELEMENT,
        }
    }

    /// The type of activations beside a tensor of this type: f16 for f16, else f32.
    pub fn activation(self) -> Self {
        if self == Self::F16 { Self::F16 } else { Self::F32 }
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        }
    }

    /// Numbers as a tensor holds them: in f16 each is rounded to the nearest.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Self::F32 | Self::U32 => bytemuck::cast_slice(values).to_vec(),
        }
    }

    /// Numbers from a tensor's bytes; undoes [`Dtype::encode`].
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect(),
            Self::F32 | Self::U32 => bytemuck::pod_collect_to_vec(bytes),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of one element of whatever is not an activation: parameters, tokens, sums.
pub const ELEMENT: u64 = 4;

/// Bytes of the widest load or store of a kernel.
pub(crate) const WIDEST: u64 = 16;

/// Bytes at whose multiples a tensor starts in its buffer: the largest binding alignment of any adapter.
pub(crate) const START: u64 = 256;

/// A typed window of a buffer: what kernels read and write.
///
/// Kernels load and store up to 16 bytes at once. So a tensor's own bytes, rounded up to a multiple of 16, lie inside its buffer,
/// and what is behind its last element up to there is padding, which kernels may overwrite. Tensors start at multiples of 256
/// bytes: none that starts behind another's last element lies in its padding.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: wgpu::Buffer,
    offset: u64,
    shape: Shape,
    dtype: Dtype,
    /// [`Gpu::id`] of the device that has the buffer.
    device: u64,
    /// Whether its padding is no other's elements, as it is for a window that ends in the middle of another tensor.
    padded: bool,
}

impl Tensor {
    /// A window of `buffer`, one of `gpu`'s, that starts at byte `offset`. Kernels bind it for storage, and on an adapter that reads
    /// textures ([`Tiles::textures`](super::Tiles::textures)) copy from it.
    ///
    /// # Errors
    /// [`Error::Shape`] if the window does not start at a multiple of 256 bytes, or does not lie inside the buffer with its end
    /// rounded up to a multiple of 16; [`Error::Limit`] past 2^32 - 1 elements, which is as far as kernels count.
    pub fn new(gpu: &Gpu, buffer: wgpu::Buffer, offset: u64, shape: impl Into<Shape>, dtype: Dtype) -> Result<Self> {
        Self { buffer, offset, shape: shape.into(), dtype, device: gpu.id(), padded: true }.checked()
    }

    fn checked(self) -> Result<Self> {
        let Self { buffer, offset, shape, dtype, .. } = &self;
        let elements = shape.elements() as u64;
        if elements > u64::from(u32::MAX) {
            return Err(Error::Limit {
                what: format!("a tensor {shape}"),
                need: elements,
                limit: "number of elements that kernels count",
                have: u64::from(u32::MAX),
                remedy: "Use a smaller batch, vocabulary or model, or shorter sequences.".into(),
            });
        }
        let end = offset.checked_add((elements * dtype.bytes()).next_multiple_of(WIDEST));
        if offset.is_multiple_of(START) && end.is_some_and(|end| end <= buffer.size()) {
            return Ok(self);
        }
        Err(Error::Shape {
            operation: "tensor",
            argument: "shape",
            wanted: format!(
                "{dtype} {shape}, rounded up to {WIDEST} bytes, from a multiple of {START} on inside {} bytes",
                buffer.size()
            ),
            got: format!("a start at byte {offset}"),
        })
    }

    /// The buffer behind the window.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// The window's first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// The window's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * self.dtype.bytes()
    }

    /// The bytes of a copy to or from the host: a multiple of four, which the buffer's own rounding has room for.
    pub fn copied_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
    }

    /// The window's size in bytes, its padding included.
    pub(super) fn padded_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(WIDEST)
    }

    /// Whether its padding is no other tensor's elements.
    pub(super) fn is_padded(&self) -> bool {
        self.padded
    }

    /// Whether it was made by `gpu` or a clone of it.
    pub fn is_on(&self, gpu: &Gpu) -> bool {
        self.device == gpu.id()
    }

    /// Whether the two have bytes in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.buffer == other.buffer
            && self.offset < other.offset + other.padded_bytes()
            && other.offset < self.offset + self.padded_bytes()
    }

    /// Whether the other lies where this one begins.
    pub(crate) fn begins_as(&self, other: &Self) -> bool {
        self.buffer == other.buffer && self.offset == other.offset
    }

    /// The same window under another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has another number of elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        match shape.elements() == self.elements() {
            true => Ok(Self { shape, ..self.clone() }),
            false => Err(self.not_with(&shape, "as many elements")),
        }
    }

    /// The beginning of the window, under a shape with at most as many elements. If it ends inside this tensor and not at a
    /// multiple of 16 bytes, kernels that store 16 bytes at once refuse to write it.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has more elements.
    pub fn window(&self, shape: impl Into<Shape>) -> Result<Self> {
        let whole = self.bytes();
        let window = self.scratch(shape)?;
        let padded = window.bytes().is_multiple_of(WIDEST) || (self.padded && window.bytes() == whole);
        Ok(Self { padded, ..window })
    }

    /// The beginning of a scratch tensor under another shape. Kernels may overwrite the elements after it, which nobody reads.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has more elements than the tensor.
    pub(crate) fn scratch(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        match shape.elements() <= self.elements() {
            true => Ok(Self { shape, padded: true, ..self.clone() }),
            false => Err(self.not_with(&shape, "at most as many elements")),
        }
    }

    /// A part of a buffer whose parts all start at multiples of 256 bytes: `shape` from byte `start` of this tensor on.
    ///
    /// # Errors
    /// [`Error::Shape`] if it does not lie inside this tensor.
    pub(crate) fn part(&self, start: u64, shape: impl Into<Shape>, dtype: Dtype) -> Result<Self> {
        let part = Self { offset: self.offset.saturating_add(start), shape: shape.into(), dtype, ..self.clone() };
        let part = Self { padded: true, ..part }.checked()?;
        match start.saturating_add(part.padded_bytes()) <= self.padded_bytes() {
            true => Ok(part),
            false => Err(self.not_with(&part.shape, "a part inside the tensor")),
        }
    }

    /// So many elements from the element `first` on, for a copy of no more than these: a binding must start elsewhere.
    pub(crate) fn stretch(&self, first: usize, elements: usize) -> Self {
        let offset = self.offset + first as u64 * self.dtype.bytes();
        Self { offset, shape: [elements].into(), ..self.clone() }
    }

    /// The least window that holds all of `tensors`, and the element at which each begins in it; `None` where one binding of `gpu`
    /// does not reach over several, or they are of different buffers or types.
    pub(crate) fn covering(gpu: &Gpu, tensors: &[&Self]) -> Option<(Self, Vec<usize>)> {
        if let [single] = tensors {
            return Some(((*single).clone(), vec![0]));
        }
        let (first, last) = (tensors.first()?, tensors.iter().max_by_key(|tensor| tensor.offset + tensor.bytes())?);
        let alike = |tensor: &&Self| tensor.buffer == first.buffer && tensor.dtype == first.dtype;
        let start = tensors.iter().map(|tensor| tensor.offset).min()?;
        let end = last.offset + last.bytes();
        let fits = (end - start).next_multiple_of(WIDEST) <= gpu.limits().max_storage_buffer_binding_size;
        if !fits || !tensors.iter().all(alike) {
            return None;
        }
        let elements = |bytes: u64| (bytes / first.dtype.bytes()) as usize;
        let begins = tensors.iter().map(|tensor| elements(tensor.offset - start)).collect();
        let shape = [elements(end - start)].into();
        Some((Self { offset: start, shape, padded: last.padded, ..(*first).clone() }, begins))
    }

    /// The elements of `first`, then those of `second`, as one tensor of `shape`, where they lie side by side in one buffer.
    pub(crate) fn joined(gpu: &Gpu, first: &Self, second: &Self, shape: impl Into<Shape>) -> Option<Self> {
        let (both, begins) = Self::covering(gpu, &[first, second])?;
        let side_by_side = begins == [0, first.elements()];
        both.reshape(shape).ok().filter(|_| side_by_side)
    }

    fn not_with(&self, shape: &Shape, wanted: &str) -> Error {
        Error::Shape {
            operation: "tensor",
            argument: "shape",
            wanted: format!("{wanted} as {}", self.shape),
            got: shape.to_string(),
        }
    }

    /// The window as a bind group sees it: its own bytes and no other, a multiple of four.
    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        self.bind(self.copied_bytes())
    }

    /// The window with its padding, which 16-byte loads and stores may touch.
    pub(super) fn padded_binding(&self) -> wgpu::BindingResource<'_> {
        self.bind(self.padded_bytes())
    }

    fn bind(&self, size: u64) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            // A size of none would be the rest of the buffer: what is empty is not bound.
            size: wgpu::BufferSize::new(size.max(4)),
        })
    }
}
