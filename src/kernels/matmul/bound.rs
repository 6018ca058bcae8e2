//! The operands of products as they are bound: several products of one shape together where bindings allow it.

use super::{Matrix, Summed, Types};
use crate::gpu::{Gpu, Tensor};

/// One operand of some products: a window that holds it for all of them, where it begins for the first, and how much further for each
/// other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub tensor: Tensor,
    pub first: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    pub step: usize,
}

impl Run {
    /// `None` where no binding holds all matrices, or they are not equally far apart. A matrix alone may be a batch.
    fn of(gpu: &Gpu, matrices: &[Matrix<'_>]) -> Option<Self> {
        let (tensor, begins) = Tensor::covering(gpu, &matrices.iter().map(|matrix| matrix.tensor).collect::<Vec<_>>())?;
        Self::inside(tensor, &begins, matrices)
    }

    /// Of matrices whose tensors begin so far inside `tensor`.
    fn inside(tensor: Tensor, begins: &[usize], matrices: &[Matrix<'_>]) -> Option<Self> {
        let at: Vec<_> = begins.iter().zip(matrices).map(|(begin, matrix)| begin + matrix.offset).collect();
        let first = matrices.first()?;
        let step = if let [one, other, ..] = at[..] { other.checked_sub(one)? } else { first.batch_stride };
        let alike = matrices.iter().all(|matrix| matrix.stride == first.stride);
        let even = at.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step));
        (alike && even).then(|| Self { tensor, first: at[0], stride: first.stride, step })
    }

    /// The same, bound without what lies before so many matrices of rows and columns and behind them.
    pub fn narrowed(&self, [count, rows, columns]: [usize; 3]) -> Self {
        let elements = (count - 1) * self.step + (rows - 1) * self.stride + columns;
        Self { tensor: self.tensor.stretch(self.first, elements), first: 0, stride: self.stride, step: self.step }
    }

    pub fn aligned(&self) -> bool {
        [self.first, self.stride, self.step].iter().all(|value| value % 4 == 0)
    }
}

/// The operands of some products of one shape, as they are bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub types: Types,
    pub a: Run,
    pub b: Run,
    pub bias: Option<Run>,
    pub c: Run,
    pub sums: Option<Run>,
    /// Whether the sums have a binding of their own: nothing may be bound twice for writing, so what lies in C's buffer has C's binding.
    pub apart: bool,
}

impl Bound {
    /// `None` where they cannot be bound together; one by itself always can.
    pub fn of(gpu: &Gpu, products: &[Summed<'_>]) -> Option<Self> {
        let types = products.first()?.operands.types();
        if products.iter().any(|product| product.operands.types() != types) {
            return None;
        }
        let operands = || products.iter().map(|product| &product.operands);
        let [a, b, c]: [Vec<_>; 3] = [
            operands().map(|of| of.a).collect(),
            operands().map(|of| of.b).collect(),
            operands().map(|of| of.c).collect(),
        ];
        let vector = |tensor| Matrix { tensor, offset: 0, stride: 0, batch_stride: 0 };
        let biases: Vec<_> = products.iter().filter_map(|product| product.operands.bias.map(vector)).collect();
        let sums: Vec<_> = products.iter().filter_map(|product| product.sums.map(vector)).collect();
        if [&biases, &sums].iter().any(|vectors| !vectors.is_empty() && vectors.len() != products.len()) {
            return None;
        }
        let of = |matrices: &[Matrix<'_>]| Run::of(gpu, matrices);
        let optional = |matrices: &[Matrix<'_>]| if matrices.is_empty() { Some(None) } else { of(matrices).map(Some) };
        let (a, b, bias) = (of(&a)?, of(&b)?, optional(&biases)?);
        let tensors: Vec<_> = c.iter().chain(&sums).map(|matrix| matrix.tensor).collect();
        let together = Tensor::covering(gpu, &tensors).filter(|_| !sums.is_empty());
        let (c, sums, apart) = match together {
            Some((tensor, begins)) => {
                let (of_c, of_sums) = begins.split_at(c.len());
                (Run::inside(tensor.clone(), of_c, &c)?, Some(Run::inside(tensor, of_sums, &sums)?), false)
            }
            None => (of(&c)?, optional(&sums)?, true),
        };
        Some(Self { types, a, b, bias, c, sums, apart })
    }
}
