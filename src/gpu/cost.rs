//! The cost of a dispatch: operations and bytes, the same on any adapter.

/// Operations and bytes of a dispatch, independent of the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Additions and multiplications (a fused multiply-add counts two).
    pub operations: f64,
    /// Exponentials, logarithms, divisions and square roots.
    pub transcendental: f64,
    /// Bytes that must at least be read.
    pub read: f64,
    /// Bytes that must at least be written.
    pub written: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.transcendental += other.transcendental;
        self.read += other.read;
        self.written += other.written;
    }
}
