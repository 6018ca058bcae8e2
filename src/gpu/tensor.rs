//! Shapes, element types and windows of GPU buffers.

use std::fmt;

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

/// What an element is. Both take four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 32-bit unsigned integer: tokens, lengths, indices.
    U32,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
        })
    }
}

/// Bytes of one element.
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
        debug_assert!(offset.is_multiple_of(256) && offset + shape.elements() as u64 * ELEMENT <= buffer.size());
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
        self.elements() as u64 * ELEMENT
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
