//! Tile configurations by adapter class. A configuration travels with its pipeline: the constants of the shader's prelude
//! and the number of workgroups come from the same value.

use super::{AdapterClass, Cooperative};

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
    /// The matrices that subgroups multiply together, where the adapter has them and they may pay.
    pub cooperative: Option<Cooperative>,
}

/// The subgroups of the CPU driver that 64-bit words were measured on.
const WIDE_SUBGROUP: u32 = 8;

impl Tiles {
    /// Sane defaults for a class of adapter; `subgroup` is the size that the driver guarantees, if it does, `words64` whether
    /// shaders may use 64-bit integers, `f16` whether they may use f16, and `cooperative` what it has of such matrices.
    pub fn for_adapter(
        class: AdapterClass,
        subgroup: Option<u32>,
        words64: bool,
        f16: bool,
        cooperative: Option<Cooperative>,
    ) -> Self {
        let subgroup = subgroup.filter(|size| SUBGROUP_SIZES.contains(size));
        match class {
            // A CPU driver runs a workgroup's subgroups one after the other, and every barrier costs: one subgroup a workgroup.
            // Rows are prefetched along their length. Cooperative matrices are emulated.
            AdapterClass::Cpu => {
                let wide = words64 && subgroup == Some(WIDE_SUBGROUP);
                let row = subgroup.unwrap_or(8);
                Self { subgroup, workgroup: 64, row, columns: 4, wide, f16, cooperative: None }
            }
            AdapterClass::Discrete | AdapterClass::Integrated => {
                Self { subgroup: None, workgroup: 256, row: 64, columns: 1, wide: false, f16, cooperative }
            }
        }
    }

    /// Every configuration that an adapter can get, each once for a class; an adapter without f16 lacks the forms that need it,
    /// and nothing else. One of those with cooperative matrices stands for all: the forms are those of every [`Cooperative::ALL`].
    pub fn all() -> Vec<(AdapterClass, Self)> {
        let sizes = || [None].into_iter().chain(SUBGROUP_SIZES.map(Some));
        let [cooperative, ..] = Cooperative::ALL;
        let mut all = vec![(
            AdapterClass::Discrete,
            Self::for_adapter(AdapterClass::Discrete, None, false, true, Some(cooperative)),
        )];
        for class in AdapterClass::ALL {
            for tiles in sizes()
                .flat_map(|size| [false, true].map(|words64| Self::for_adapter(class, size, words64, true, None)))
            {
                if !all.contains(&(class, tiles)) {
                    all.push((class, tiles));
                }
            }
        }
        all
    }
}
