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
    /// Bytes of memory that a workgroup may take: [`PORTABLE_MEMORY`] or [`LARGE_MEMORY`].
    pub memory: u32,
    /// Units that each want a workgroup at least: those of a GPU ([`UNITS`]), or one.
    pub units: usize,
    /// The matrices that subgroups multiply together, where the adapter has them and they may pay.
    pub cooperative: Option<Cooperative>,
    /// Whether a CPU has so few vector registers that kernels with several sums an element take fewer elements.
    pub few_registers: bool,
    /// Whether products read their factors from textures: kernels in the subgroup form, of factors that fours make up.
    pub textures: bool,
}

/// Compute units of an adapter that does not tell: about as many as a large GPU has.
pub const UNITS: usize = 128;

/// Bytes of workgroup memory that every adapter has: WebGPU's default limit.
pub const PORTABLE_MEMORY: u32 = 16 << 10;
/// What GPUs of desktops have at least, and Apple's; forms that take it pay there.
pub const LARGE_MEMORY: u32 = 32 << 10;

/// What an adapter offers that kernels can do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The lanes of a subgroup, if the driver guarantees their number.
    pub subgroup: Option<u32>,
    /// 64-bit integers in shaders.
    pub words64: bool,
    /// Half precision in shaders.
    pub f16: bool,
    /// The most bytes of workgroup memory.
    pub memory: u32,
    /// The matrices that subgroups multiply together.
    pub cooperative: Option<Cooperative>,
    /// So few vector registers that sums leave them, on a CPU whose driver loads well.
    pub few_registers: bool,
    /// Textures that are loaded from in much less time than buffers.
    pub textures: bool,
}

/// The subgroups of the CPU driver that 64-bit words and textures were measured on.
const LLVMPIPE: u32 = 8;

impl Tiles {
    /// Sane defaults for a class of adapter, and what it offers.
    pub fn for_adapter(class: AdapterClass, offers: Offers) -> Self {
        let Offers { subgroup, words64, f16, memory, cooperative, few_registers, textures } = offers;
        let large = memory >= LARGE_MEMORY && class != AdapterClass::Cpu;
        let memory = if large { LARGE_MEMORY } else { PORTABLE_MEMORY };
        let subgroup = subgroup.filter(|size| SUBGROUP_SIZES.contains(size));
        match class {
            // A CPU driver runs a workgroup's subgroups one after the other, and every barrier costs: one subgroup a workgroup.
            // Rows are prefetched along their length. Cooperative matrices are emulated.
            AdapterClass::Cpu => {
                let wide = words64 && subgroup == Some(LLVMPIPE);
                let row = subgroup.unwrap_or(8);
                let cooperative = None;
                Self {
                    subgroup,
                    workgroup: 64,
                    row,
                    columns: 4,
                    wide,
                    f16,
                    memory,
                    units: 1,
                    cooperative,
                    few_registers,
                    textures: textures && subgroup == Some(LLVMPIPE),
                }
            }
            AdapterClass::Discrete | AdapterClass::Integrated => Self {
                subgroup: None,
                workgroup: 256,
                row: 64,
                columns: 1,
                wide: false,
                f16,
                memory,
                units: UNITS,
                cooperative,
                few_registers: false,
                textures: false,
            },
        }
    }

    /// Every configuration that an adapter can get, each once for a class; an adapter without f16 lacks the forms that need it,
    /// and nothing else. One of those with cooperative matrices stands for all: the forms are those of every [`Cooperative::ALL`]. Few
    /// registers bring other tiles, and no other forms.
    pub fn all() -> Vec<(AdapterClass, Self)> {
        let [cooperative, ..] = Cooperative::ALL;
        let least = Offers { f16: true, ..Offers::default() };
        let matrices = Offers { cooperative: Some(cooperative), ..least };
        let mut all = vec![(AdapterClass::Discrete, Self::for_adapter(AdapterClass::Discrete, matrices))];
        let sizes = || [None].into_iter().chain(SUBGROUP_SIZES.map(Some));
        let of_size = |subgroup| [false, true].map(|words64| Offers { subgroup, words64, ..least });
        let of_memory = |offers| [PORTABLE_MEMORY, LARGE_MEMORY].map(|memory| Offers { memory, ..offers });
        let of_textures = |offers| [false, true].map(|textures| Offers { textures, ..offers });
        for class in AdapterClass::ALL {
            for offers in sizes().flat_map(of_size).flat_map(of_memory).flat_map(of_textures) {
                let tiles = (class, Self::for_adapter(class, offers));
                if !all.contains(&tiles) {
                    all.push(tiles);
                }
            }
        }
        all
    }
}
