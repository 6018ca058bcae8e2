//! A matrix inside a tensor, which need not be all of it: what products, copies and attention take.

use crate::gpu::{Tensor, product};

/// A matrix inside a tensor: rows of consecutive elements, `stride` apart, from element `offset` on; further matrices of a
/// batch follow at multiples of `batch_stride` (0: one matrix serves the whole batch).
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The tensor that holds it.
    pub tensor: &'a Tensor,
    /// Its first element.
    pub offset: usize,
    /// Elements from one stored row to the next.
    pub stride: usize,
    /// Elements from one matrix of the batch to the next.
    pub batch_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A tensor `[.., N]` with all leading extents folded into rows.
    pub fn rows(tensor: &'a Tensor) -> Self {
        Self { tensor, offset: 0, stride: tensor.shape().last(), batch_stride: 0 }
    }

    /// A tensor `[batch, M, N]` as a batch of matrices.
    pub fn batch(tensor: &'a Tensor) -> Self {
        let dims = tensor.shape().dims();
        let (columns, rows) = (tensor.shape().last(), dims.iter().rev().nth(1).copied().unwrap_or(1));
        Self { tensor, offset: 0, stride: columns, batch_stride: product(&[rows, columns]) }
    }

    /// The same, `elements` further into the tensor.
    pub fn offset(self, elements: usize) -> Self {
        Self { offset: self.offset.saturating_add(elements), ..self }
    }

    /// The same with rows `stride` elements apart.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn aligned(&self) -> bool {
        [self.offset, self.stride, self.batch_stride].iter().all(|value| value % 4 == 0)
    }

    /// The element behind the last one that `rows` x `columns` x `batch`, none of them 0, touch; `usize::MAX` if it is past that.
    pub(super) fn end(&self, rows: usize, columns: usize, batch: usize) -> usize {
        let last_matrix = (batch - 1).saturating_mul(self.batch_stride);
        let last_row = (rows - 1).saturating_mul(self.stride);
        self.offset.saturating_add(last_matrix).saturating_add(last_row).saturating_add(columns)
    }
}
