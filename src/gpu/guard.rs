//! Conventions shared by a pipeline and its launches: who checks accesses, and how parameters are aligned.

/// Bytes of a dispatch's parameters at most, which lie at multiples of it in their uniform buffer: the largest alignment that
/// an adapter may ask for.
pub(super) const PARAMETER_STRIDE: u64 = 256;

/// The party that keeps a shader inside its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guard {
    /// The kernel of this crate that launches it, with the sizes that it has checked.
    Kernel,
    /// wgpu, with a check at each access.
    Driver,
}
