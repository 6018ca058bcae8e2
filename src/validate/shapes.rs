//! Classes of shapes: what decides which of a kernel's ways a case takes.

use std::cell::Cell;

use crate::gpu::Shape;

/// The class of a case, by all its tensors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShapeClass {
    /// A tensor of several extents has one of 1: a single row, step, key or column.
    Ones,
    /// None has, and all rows are multiples of 4: 16-byte loads serve.
    Fours,
    /// The others.
    Odd,
}

impl ShapeClass {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Ones, Self::Fours, Self::Odd];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ones => "an extent of 1",
            Self::Fours => "rows of fours",
            Self::Odd => "odd",
        }
    }
}

/// The worst of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OfClass {
    /// Cases of this class that ran.
    pub cases: usize,
    /// The worst error of these.
    pub worst_error: f64,
}

/// The shape classes that a case has had so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    one: Cell<bool>,
    odd: Cell<bool>,
}

impl Seen {
    /// Counts a tensor in. Single numbers and scratch say nothing of a case.
    pub(super) fn count(&self, shape: &Shape) {
        if shape.elements() > 1 {
            self.one.set(self.one.get() || shape.dims().len() > 1 && shape.dims().contains(&1));
            self.odd.set(self.odd.get() || !shape.last().is_multiple_of(4));
        }
    }

    pub(super) fn class(&self) -> ShapeClass {
        match (self.one.get(), self.odd.get()) {
            (true, _) => ShapeClass::Ones,
            (false, false) => ShapeClass::Fours,
            (false, true) => ShapeClass::Odd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tensor_decides_a_case() {
        let class = |shapes: &[&[usize]]| {
            let seen = Seen::default();
            shapes.iter().for_each(|shape| seen.count(&Shape::from(*shape)));
            seen.class()
        };
        assert_eq!(class(&[&[1], &[8], &[3, 8]]), ShapeClass::Fours);
        assert_eq!(class(&[&[8], &[3, 8], &[8, 3]]), ShapeClass::Odd);
        assert_eq!(class(&[&[7], &[3, 8]]), ShapeClass::Odd);
        assert_eq!(class(&[&[3, 8], &[1, 5]]), ShapeClass::Ones);
    }
}
