//! What a workgroup of a product computes, by adapter and shape.

use serde::{Deserialize, Serialize};

use super::Matmul;
use crate::{
    gpu::{ELEMENT, Gpu, Tiles, product},
    kernels::{
        forms,
        tunable::{Tunable, tuned},
    },
};

/// What one workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// The subgroup form (`lanes` is the subgroup's size), or the form with tiles in workgroup memory.
    pub subgroups: bool,
    /// Invocations along N.
    pub lanes: u32,
    /// Invocations along M (1 in the subgroup form).
    pub groups: u32,
    /// Rows per invocation.
    pub rows: u32,
    /// vec4 columns per invocation.
    pub columns: u32,
}

/// The shortest sums that are worth slices.
const SLICED: usize = 64;

impl Tile {
    /// Of products that are too small for a GPU.
    const SMALL: Self = Self { subgroups: false, lanes: 4, groups: 8, rows: 4, columns: 2 };

    /// The configuration for an adapter and a shape. Few rows take a tile of few rows, so that less of it is thrown away.
    ///
    /// On lavapipe 32 rows of 64 columns are best: less shares a load among fewer products, more spills. Without AVX-512 16
    /// rows are as good with Mesa 26, and with Mesa 25 a product takes a third of the time with them.
    pub fn choose(gpu: &Gpu, m: usize) -> Self {
        tuned(gpu, Self::class(m)).unwrap_or_else(|| Self::of(gpu.tiles(), m))
    }

    pub(super) fn of(tiles: &Tiles, m: usize) -> Self {
        match tiles.subgroup {
            Some(lanes) => {
                let most = if tiles.few_registers { 2 * lanes.min(8) } else { 4 * lanes.min(8) };
                let rows = (m.min(1 << 16) as u32).next_multiple_of(lanes).clamp(lanes, lanes.max(most));
                let rows = if rows == 3 * lanes { 4 * lanes } else { rows };
                Self { subgroups: true, lanes, groups: 1, rows, columns: 2 }
            }
            None => {
                let rows = if m <= 64 { 4 } else { 8 };
                Self { subgroups: false, lanes: 8, groups: 8, rows, columns: 2 }
            }
        }
    }

    /// The class of products of `m` rows.
    pub fn class(m: usize) -> &'static str {
        match m {
            0..=8 => "m <= 8",
            9..=16 => "m <= 16",
            17..=64 => "m <= 64",
            _ => "m > 64",
        }
    }

    /// How many slices of the sums a workgroup can compute side by side: what they stage, and half of their sums at the end, lie in
    /// its memory.
    fn most_slices(&self, tiles: &Tiles) -> u32 {
        let elements = usize::max(16 * (self.height() + self.width()), self.height() * self.width() / 2);
        let fits = |slices: &u32| {
            *slices as usize * elements * ELEMENT as usize <= tiles.memory as usize
                && slices * self.lanes * self.groups <= 256
        };
        if self.subgroups { 1 } else { [8, 4, 2].into_iter().find(fits).unwrap_or(1) }
    }

    /// The numbers of slices that some product is computed in.
    pub(super) fn each_slices(&self, tiles: &Tiles) -> Vec<u32> {
        let most = self.most_slices(tiles);
        if self.is_small() { vec![most] } else { forms::distinct([1, most]) }
    }

    /// The same; or, of the default tile, a smaller one whose sums have twice as many slices, where a GPU would have workgroups for no
    /// more than a quarter of its units.
    pub(super) fn filling(self, tiles: &Tiles, of: &Matmul, batch: usize) -> Self {
        let Matmul { m, n, k, .. } = *of;
        let workgroups = product(&[m.div_ceil(self.height()), n.div_ceil(self.width()), batch]);
        let few = workgroups.saturating_mul(4) <= tiles.units && k >= SLICED;
        if few && !self.subgroups && self == Self::of(tiles, m) { Self::SMALL } else { self }
    }

    fn is_small(&self) -> bool {
        *self == Self::SMALL
    }

    /// As many slices as there can be where tiles are so few that a GPU would have less than a handful of subgroups for each of its
    /// processors. The sums of a tile are added up in a fixed order.
    pub(super) fn slices(&self, tiles: &Tiles, workgroups: [u32; 3], k: usize) -> u32 {
        let few = workgroups.iter().map(|count| u64::from(*count)).product::<u64>() < 512;
        if few && k >= SLICED { self.most_slices(tiles) } else { 1 }
    }

    /// Steps of k between loads that are waited for.
    pub(super) fn depth(&self, slices: u32) -> usize {
        if self.subgroups { 4 } else { 16 * slices as usize }
    }

    pub(super) fn height(&self) -> usize {
        (self.groups * self.rows) as usize
    }

    pub(super) fn width(&self) -> usize {
        (self.lanes * self.columns * 4) as usize
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = "matmul";
    const CLASSES: &'static [&'static str] = &["m <= 8", "m <= 16", "m <= 64", "m > 64"];

    /// On lavapipe the defaults are best, and taller tiles of fewer columns as good; drivers with wider subgroups may prefer
    /// those. On GPUs few large tiles reuse more, many small ones fill more of the card; on RDNA2 none spills or leaves fewer
    /// than 8 subgroups a SIMD. One vec4 of columns an invocation would read workgroup memory too often there.
    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let defaults = [8, 16, 32].map(|m| Self::of(tiles, m));
        let tile = |[lanes, groups, rows, columns]: [u32; 4]| Self { lanes, groups, rows, columns, ..defaults[0] };
        let others = match tiles.subgroup {
            Some(lanes) => vec![[lanes, 1, 64, 1]],
            None => vec![[16, 16, 4, 2], [16, 8, 8, 2], [16, 16, 8, 2]],
        };
        forms::distinct(defaults.into_iter().chain(others.into_iter().map(tile)))
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        // Only a GPU has units to fill.
        let small = (tiles.units > 1 && tiles.subgroup.is_none()).then_some(Self::SMALL);
        forms::distinct((1..=512).map(|m| Self::of(tiles, m)).chain(Self::candidates(tiles)).chain(small))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{AdapterClass, Offers};

    #[test]
    fn few_registers_bring_other_tiles_and_no_other_forms() {
        let of = |few_registers| {
            let offers = Offers { subgroup: Some(8), few_registers, ..Offers::default() };
            Tiles::for_adapter(AdapterClass::Cpu, offers)
        };
        let rows = |tiles: &Tiles| [1, 8, 16, 17, 64].map(|rows| Tile::of(tiles, rows).rows);
        assert_eq!(rows(&of(false)), [8, 8, 16, 32, 32]);
        assert_eq!(rows(&of(true)), [8, 8, 16, 16, 16]);
        let known = Tile::every(&of(false));
        assert!(Tile::every(&of(true)).iter().all(|tile| known.contains(tile)));
    }
}
