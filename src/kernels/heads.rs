//! The rows of attention's heads inside a tensor, where the projections have left them: heads need not be copied apart.

use crate::{
    Error, Result,
    gpu::{Dtype, Tensor, product},
};

/// Rows of D consecutive elements, one for each step of each head of each sequence of a batch, inside a tensor that may hold
/// others between them. Offset and strides count elements.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// The tensor that holds them.
    pub tensor: &'a Tensor,
    /// The first element of the first row.
    pub offset: usize,
    /// From a sequence of the batch to the next.
    pub batch_stride: usize,
    /// From a head to the next.
    pub head_stride: usize,
    /// From a step to the next.
    pub stride: usize,
}

impl<'a> Heads<'a> {
    /// Heads one after the other: a tensor `[B, N, T, D]`.
    pub fn apart(tensor: &'a Tensor) -> Self {
        let [heads, steps, size] = last_extents(tensor);
        let head_stride = product(&[steps, size]);
        Self { tensor, offset: 0, batch_stride: product(&[heads, head_stride]), head_stride, stride: size }
    }

    /// Heads of `size` side by side in the columns of a tensor `[B, T, C]`, from column `first` on: what a projection makes.
    pub fn side_by_side(tensor: &'a Tensor, first: usize, size: usize) -> Self {
        let [_, steps, columns] = last_extents(tensor);
        Self { tensor, offset: first, batch_stride: product(&[steps, columns]), head_stride: size, stride: columns }
    }

    /// The words of a layout in `shaders/shared/heads.wgsl`.
    pub(super) fn layout(&self) -> [u32; 4] {
        [self.offset, self.batch_stride, self.head_stride, self.stride].map(|elements| elements as u32)
    }

    /// Whether every row starts at a multiple of `elements`.
    pub(super) fn aligned(&self, elements: usize) -> bool {
        [self.offset, self.batch_stride, self.head_stride, self.stride]
            .iter()
            .all(|value| value.is_multiple_of(elements))
    }

    /// Whether no row has elements in common with one of `other`: they lie in other memory, or, `width` columns of each, in other
    /// columns of one tensor.
    pub(super) fn is_apart(&self, other: &Self, width: usize) -> bool {
        let columns = |heads: &Self| heads.offset.saturating_add(width) <= heads.stride;
        let beside = self.stride == other.stride && self.offset.abs_diff(other.offset) >= width;
        !self.tensor.overlaps(other.tensor) || (self.shares(other) && beside && columns(self) && columns(other))
    }

    /// Whether both lie in one tensor.
    pub(super) fn shares(&self, other: &Self) -> bool {
        let window = |heads: &Self| (heads.tensor.offset(), heads.tensor.bytes());
        self.tensor.buffer() == other.tensor.buffer() && window(self) == window(other)
    }

    /// Checks that the rows of `[B, N, T, D]` lie inside the tensor, which is of `dtype`.
    pub(super) fn expect(
        &self,
        operation: &'static str,
        argument: &'static str,
        dtype: Dtype,
        [batch, heads, steps, size]: [usize; 4],
    ) -> Result<()> {
        let counted = [batch, heads, steps, size].iter().all(|extent| (1..=u32::MAX as usize).contains(extent));
        let reach = |extent: usize, stride: usize| extent.saturating_sub(1).saturating_mul(stride);
        let parts = [(batch, self.batch_stride), (heads, self.head_stride), (steps, self.stride)];
        let last = parts.into_iter().fold(self.offset, |at, (extent, stride)| at.saturating_add(reach(extent, stride)));
        if counted && last.saturating_add(size) <= self.tensor.elements() && self.tensor.dtype() == dtype {
            return Ok(());
        }
        let Self { tensor, offset, batch_stride, head_stride, stride } = self;
        Err(Error::Shape {
            operation,
            argument,
            wanted: format!(
                "{dtype}, {batch} x {heads} heads x {steps} steps x {size}, none of them 0, {batch_stride}, {head_stride} and \
                 {stride} elements apart"
            ),
            got: format!("{} {} from element {offset} on", tensor.dtype(), tensor.shape()),
        })
    }
}

fn last_extents(tensor: &Tensor) -> [usize; 3] {
    let mut last = tensor.shape().dims().iter().rev().copied();
    let [third, second, first] = std::array::from_fn(|_| last.next().unwrap_or(1));
    [first, second, third]
}
