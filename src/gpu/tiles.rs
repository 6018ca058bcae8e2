//! Tile configurations by adapter class. A configuration travels with its pipeline: the constants of the shader's prelude
//! and the number of workgroups come from the same value.

use super::AdapterClass;

/// The subgroup sizes that kernels have forms for.
pub const SUBGROUP_SIZES: [u32; 5] = [4, 8, 16, 32, 64];

/// Tile sizes: the share of each kernel's work that one workgroup does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// The lanes of a subgroup, where the adapter has one fixed size and subgroup kernels pay.
    pub subgroup: Option<u32>,
    /// Invocations of a workgroup in kernels that need no other number.
    pub workgroup: u32,
    /// Invocations that share one row in kernels that reduce rows.
    pub row: u32,
    /// Elements, or vec4s, of a row that one invocation takes in kernels that sum columns.
    pub columns: u32,
    /// Whether kernels bound by loads and stores use 64-bit words.
    pub wide: bool,
    /// Whether activations may be f16.
    pub f16: bool,
    /// Bytes of memory that a workgroup may take: [`PORTABLE_MEMORY`] or [`LARGE_MEMORY`].
    pub memory: u32,
}

/// Bytes of workgroup memory that every adapter has: WebGPU's default limit.
pub const PORTABLE_MEMORY: u32 = 16 << 10;
/// What GPUs of desktops have at least, and Apple's; forms that take it pay there.
pub const LARGE_MEMORY: u32 = 32 << 10;

/// The subgroups of the CPU driver that 64-bit words were measured on.
const WIDE_SUBGROUP: u32 = 8;

impl Tiles {
    /// Sane defaults for a class of adapter; `subgroup` is the size that the driver guarantees, if it does, `words64` whether
    /// shaders may use 64-bit integers, `f16` whether they may use f16, and `memory` the most bytes of workgroup memory.
    pub fn for_adapter(class: AdapterClass, subgroup: Option<u32>, words64: bool, f16: bool, memory: u32) -> Self {
        let large = memory >= LARGE_MEMORY && class != AdapterClass::Cpu;
        let memory = if large { LARGE_MEMORY } else { PORTABLE_MEMORY };
        let subgroup = subgroup.filter(|size| SUBGROUP_SIZES.contains(size));
        match class {
            // A CPU driver runs a workgroup's subgroups one after the other, and every barrier costs: one subgroup a workgroup.
            // Rows are prefetched along their length.
            AdapterClass::Cpu => {
                let wide = words64 && subgroup == Some(WIDE_SUBGROUP);
                Self { subgroup, workgroup: 64, row: subgroup.unwrap_or(8), columns: 4, wide, f16, memory }
            }
            AdapterClass::Discrete | AdapterClass::Integrated => {
                Self { subgroup: None, workgroup: 256, row: 64, columns: 1, wide: false, f16, memory }
            }
        }
    }

    /// Every configuration that an adapter can get, each once for a class; an adapter without f16 lacks the forms that need it,
    /// and nothing else.
    pub fn all() -> Vec<(AdapterClass, Self)> {
        let sizes = || [None].into_iter().chain(SUBGROUP_SIZES.map(Some));
        let mut all = Vec::new();
        for class in AdapterClass::ALL {
            for memory in [PORTABLE_MEMORY, LARGE_MEMORY] {
                let of = |size| [false, true].map(|words64| Self::for_adapter(class, size, words64, true, memory));
                for tiles in sizes().flat_map(of) {
                    if !all.contains(&(class, tiles)) {
                        all.push((class, tiles));
                    }
                }
            }
        }
        all
    }
}
