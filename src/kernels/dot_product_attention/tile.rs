//! The tiles of dot-product attention, and the forms of its shaders that they make.

use serde::{Deserialize, Serialize};

use super::{LARGEST_SIZE, NAME};
use crate::{
    gpu::{Dtype, Gpu, Specialisation, Tiles},
    kernels::{
        forms,
        tunable::{Tunable, tuned},
    },
};

/// The most diagonals of one tile, and columns besides.
pub(super) const MOST_DIAGONALS: usize = 1024;

/// What the workgroups of a dispatch own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels) enum Pass {
    /// Queries, whose contexts they make.
    Forward,
    /// Queries, whose gradients they make.
    Queries,
    /// Keys and values, whose gradients they make.
    Keys,
    /// Distances of keys from queries, the gradients of whose biases they make.
    Diagonals,
}

/// What decides on a form of a shader, beside the tile.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Form {
    /// Size of a head.
    pub size: usize,
    /// How many elements sizes, offsets and strides are multiples of.
    pub piece: usize,
    pub pass: Pass,
    /// Whether scores have a bias, or weights dropout.
    pub adjusted: bool,
    /// Whether the gradients of keys and values lie in one tensor, which is then bound once: WebGPU takes no tensor bound twice for
    /// writing.
    pub together: bool,
    pub dtype: Dtype,
}

/// What one workgroup computes: a tile of rows (queries, or keys where their gradients are made) against tiles of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// The subgroup form (`lanes` is the subgroup's size), or the form with tiles in workgroup memory.
    pub subgroups: bool,
    /// Invocations along the columns and the features.
    pub lanes: u32,
    /// Invocations along the rows (1 in the subgroup form).
    pub groups: u32,
    /// Rows per invocation: a multiple of `lanes` in the subgroup form, else of 4.
    pub rows: u32,
    /// vec4s of columns per invocation.
    pub blocks: u32,
}

impl Tile {
    /// The configuration for an adapter and the size of a head. Larger heads take fewer rows: the registers hold both.
    ///
    /// On lavapipe (two cores, forward of B 1, N 8, T and S 2048, D 64), where loads cost more than arithmetic:
    ///
    /// | rung | gain |
    /// |---|---|
    /// | 32 rows instead of 16 | 15 % |
    /// | 2 blocks of columns | none: they overflow the registers, and the driver compiles them twice as long |
    /// | features in 64-bit words | 20 %; with 2 blocks half of that |
    ///
    /// On RDNA2, where workgroup memory and registers decide how many subgroups a SIMD holds:
    ///
    /// | rung | subgroups |
    /// |---|---|
    /// | an array each for what products and what sums stage, 4 vec4s of features at D 128 | 4 to 8 |
    /// | one array for both, which also lets the compiler aim at fewer registers | 8 up to D 64 |
    /// | twice the lanes past D 64: never more than 2 vec4s of features | 8 to 14 |
    pub fn choose(gpu: &Gpu, size: usize) -> Self {
        tuned(gpu, Self::class(size))
            .filter(|tile: &Self| tile.holds(size))
            .unwrap_or_else(|| Self::of(gpu.tiles(), size))
    }

    /// The class of a size of heads.
    pub fn class(size: usize) -> &'static str {
        match size {
            0..=32 => "size <= 32",
            33..=64 => "size <= 64",
            65..=128 => "size > 64",
            _ => "size > 128",
        }
    }

    pub(in crate::kernels) fn of(tiles: &Tiles, size: usize) -> Self {
        // A walk along diagonals stages a tile, which of larger subgroups is past what workgroup memory every adapter has.
        match tiles.subgroup.filter(|lanes| *lanes <= 32) {
            Some(lanes) => {
                let rows = match size {
                    0..=64 => 32,
                    65..=128 => 16,
                    _ => 8,
                };
                Self { subgroups: true, lanes, groups: 1, rows: lanes.max(rows), blocks: 1 }
            }
            None => {
                let (lanes, groups) = match size {
                    0..=64 => (8, 8),
                    65..=128 => (16, 8),
                    _ => (32, 4),
                };
                Self { subgroups: false, lanes, groups, rows: 4, blocks: 1 }
            }
        }
    }

    /// The configuration for scores by distance: no more rows than columns, both powers of two. On lavapipe half as many rows as elsewhere:
    /// 32 run a third faster, and the driver compiles them four times as long.
    pub(in crate::kernels) fn by_distance(tiles: &Tiles) -> Self {
        match tiles.subgroup.filter(|lanes| *lanes <= 8) {
            Some(lanes) => Self { subgroups: true, lanes, groups: 1, rows: 2 * lanes, blocks: 1 },
            None => Self { subgroups: false, lanes: 8, groups: 8, rows: 4, blocks: 1 },
        }
    }

    /// Whether an invocation's registers hold its part of a head, on a GPU with those of enough others.
    pub(super) fn holds(&self, size: usize) -> bool {
        self.subgroups || self.features(size) <= 2
    }

    pub(in crate::kernels) fn specialisation(&self, tiles: &Tiles, form: Form) -> Specialisation {
        let Form { size, piece, pass, adjusted, together, dtype } = form;
        let words64 = tiles.wide && dtype == Dtype::F32;
        let wide = self.subgroups && words64 && piece.is_multiple_of(8) && self.features(size) > 1;
        Specialisation::new()
            .element(dtype)
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(piece.is_multiple_of(4), "VECTOR")
            .define_if(wide, "WIDE")
            .define_if(pass == Pass::Keys, "KEY")
            .define_if(adjusted, "ADJUSTED")
            .define_if(together, "TOGETHER")
            .constant("LANES", self.lanes)
            .constant("GROUPS", self.groups)
            .constant("ROWS", self.rows)
            .constant("BLOCKS", self.blocks)
            .constant("FEATURES", self.features(size))
    }

    pub(in crate::kernels) fn height(&self) -> usize {
        (self.groups * self.rows) as usize
    }

    pub(in crate::kernels) fn width(&self) -> usize {
        (self.lanes * self.blocks * 4) as usize
    }

    /// How many bands of tiles along the diagonals have all queries and keys.
    pub(super) fn bands(&self, queries: usize, keys: usize) -> usize {
        let shift = (queries - 1) / self.height() * self.height();
        (keys + shift).div_ceil(self.width())
    }

    /// The rounds of an invocation's loops for one tile of columns. Counted on llvmpipe by the length at which results turn wrong;
    /// these bound it from above by 2 to 15 %. With every check in them, inner loops stay loops: at most `rows + 5` times as many
    /// iterations, and those that gather biases.
    pub(in crate::kernels) fn rounds(&self, size: usize, checked: bool, adjusted: bool) -> usize {
        let (width, rows) = (self.width(), self.rows as usize);
        let per_tile = if self.subgroups {
            2 * size.div_ceil(4) + 2 * (width / 4) + 8
        } else {
            let step = if self.lanes * self.features(size) > 32 { 4 } else { 8 };
            14 * size.div_ceil(16) + 2 * (width / step) * (3 + self.features(size) as usize) + 1
        };
        let gathering = if adjusted { self.blocks as usize * (rows + 3) } else { 0 };
        if checked { per_tile * (rows + 5) + gathering } else { per_tile + gathering }
    }

    /// vec4s of a head that an invocation holds; powers of two, so that few forms exist.
    fn features(&self, size: usize) -> u32 {
        (size as u32).div_ceil(self.lanes * 4).next_power_of_two()
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = NAME;
    const CLASSES: &'static [&'static str] = &["size <= 32", "size <= 64", "size > 64", "size > 128"];

    /// On GPUs: twice the rows read keys and values half as often, half of them fill more of the card where queries are few.
    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let defaults = [64, 128].map(|size| Self::of(tiles, size));
        let in_workgroup_memory = |[lanes, groups]: [u32; 2]| Self { lanes, groups, ..defaults[0] };
        let others = [[8, 16], [16, 4]].map(in_workgroup_memory);
        forms::distinct(defaults.into_iter().chain(others.into_iter().filter(|_| tiles.subgroup.is_none())))
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        forms::distinct(Self::candidates(tiles).into_iter().chain([Self::of(tiles, LARGEST_SIZE)]))
    }
}

/// Every form that launches of some passes ask for.
pub(in crate::kernels) fn forms(tiles: &Tiles, passes: &[Pass]) -> Vec<Specialisation> {
    let mut all = Vec::new();
    for (dtype, pass) in forms::elements(tiles).iter().flat_map(|dtype| passes.iter().map(move |pass| (*dtype, *pass)))
    {
        let adjusted: &[bool] = if pass == Pass::Diagonals { &[true] } else { &[false, true] };
        for size in 1..=LARGEST_SIZE {
            let held =
                Tile::candidates(tiles).into_iter().filter(|tile| tile.holds(size)).chain([Tile::of(tiles, size)]);
            for (tile, adjusted) in held.flat_map(|tile| adjusted.iter().map(move |adjusted| (tile, *adjusted))) {
                let together: &[bool] = if pass == Pass::Keys { &[false, true] } else { &[false] };
                for together in together {
                    // What sizes are multiples of, offsets and strides may be too, or not.
                    let form = Form { size, piece: size, pass, adjusted, together: *together, dtype };
                    all.push(tile.specialisation(tiles, form));
                }
            }
        }
    }
    forms::distinct(all)
}
