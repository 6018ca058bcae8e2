//! Shapes, element types and windows of GPU buffers.

use std::fmt;

use half::f16;

/// The extents of a tensor, slowest first, as in `[B, T, H]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The last extent (1 for a scalar).
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// The number of rows when all but the last extent are folded into one.
    pub fn rows(&self) -> usize {
        self.0.iter().rev().skip(1).product()
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

/// What an element is.
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

    /// What activations are that go with one of this type: f16, or else f32.
    pub fn activation(self) -> Self {
        if self == Self::F16 { Self::F16 } else { Self::F32 }
    }

    /// As it stands in tables.
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

    /// The reverse of [`Dtype::encode`].
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

/// A typed window of a buffer: what kernels read and write.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: wgpu::Buffer,
    offset: u64,
    shape: Shape,
    dtype: Dtype,
}

impl Tensor {
    /// A window of `buffer` starting at byte `offset` (a multiple of 256). The window must lie inside the buffer.
    pub fn new(buffer: wgpu::Buffer, offset: u64, shape: impl Into<Shape>, dtype: Dtype) -> Self {
        let shape = shape.into();
        debug_assert!(offset.is_multiple_of(256) && offset + shape.elements() as u64 * dtype.bytes() <= buffer.size());
        Self { buffer, offset, shape, dtype }
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

    /// The same window under another shape with as many elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.elements(), self.elements());
        Self { shape, ..self.clone() }
    }

    /// The beginning of the window, under a shape with at most as many elements.
    pub fn window(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        debug_assert!(shape.elements() <= self.elements());
        Self { shape, ..self.clone() }
    }

    /// The window as a bind group sees it: rounded up to 16 bytes, which 16-byte loads may touch.
    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = self.bytes().next_multiple_of(16).min(self.buffer.size() - self.offset);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(size),
        })
    }
}
