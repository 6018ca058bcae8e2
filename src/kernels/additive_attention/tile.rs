//! What a workgroup of [`super::AdditiveAttention`]'s kernels computes, by adapter and shape, and the forms that follow from it.

use serde::{Deserialize, Serialize};

use super::{AdditiveAttention, KEY_ROWS, word};
use crate::{
    gpu::{Dtype, Gpu, Specialisation, Tiles},
    kernels::{
        forms,
        tunable::{Tunable, tuned},
    },
};

/// Keys that are scored before they are weighted; a tile of scores takes `BLOCK * rows * 4` bytes of workgroup memory.
const BLOCK: u32 = 128;

/// What one workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// A workgroup is one subgroup of `lanes`, and rows are passed round in it; or rows are staged in workgroup memory.
    pub subgroups: bool,
    /// Invocations of a workgroup, a power of two.
    pub lanes: u32,
    /// Queries per workgroup: 1 or a multiple of 4.
    pub rows: u32,
    /// Keys per workgroup where their gradients are made: a multiple of 4.
    pub key_rows: u32,
    /// Keys per invocation in a tile of scores; of one query, keys that the workgroup scores together.
    pub keys: u32,
    /// vec4 columns of the context per invocation.
    pub columns: u32,
    /// Whether one evaluation of tanh serves the gradients of queries and keys, where both are wanted at once. It needs
    /// subgroups, and pays where the workgroups are few and their walks long.
    pub both_sides: bool,
}

impl Tile {
    /// The configuration for an adapter and a shape.
    ///
    /// On lavapipe a tile of 32 rows and 4 keys a lane is as large as pays: the loads are half the work.
    /// On RDNA2, 8 rows of keys would leave 4 subgroups a SIMD to their gradients; 4 rows leave 8.
    pub fn choose(gpu: &Gpu, shape: &AdditiveAttention) -> Self {
        tuned(gpu, Self::class(shape)).unwrap_or_else(|| Self::of(gpu.tiles(), shape.queries, shape.keys))
    }

    pub(super) fn of(tiles: &Tiles, queries: usize, keys: usize) -> Self {
        let Some(lanes) = tiles.subgroup else {
            let (rows, keys) = if queries == 1 { (1, 4) } else { (8, 1) };
            return Self {
                subgroups: false,
                lanes: 64,
                rows,
                key_rows: word(KEY_ROWS),
                keys,
                columns: 1,
                both_sides: false,
            };
        };
        let keys_per_lane = word(keys).div_ceil(lanes).clamp(2, 4);
        let (rows, at_once) =
            if queries == 1 { (1, keys_of_one_query(keys)) } else { (fitting(queries, lanes), keys_per_lane) };
        Self {
            subgroups: true,
            lanes,
            rows,
            key_rows: fitting(keys, lanes),
            keys: at_once,
            columns: 2,
            both_sides: queries > 1 && keys > 32,
        }
    }

    /// The class of a shape.
    pub fn class(shape: &AdditiveAttention) -> &'static str {
        match (shape.queries, shape.keys) {
            (1, _) => "one query",
            (_, 0..=16) => "keys <= 16",
            (_, 17..=32) => "keys <= 32",
            _ => "keys > 32",
        }
    }

    /// The same for the keys' side of the backward.
    pub(super) fn for_keys(self) -> Self {
        Self { rows: self.key_rows, ..self }
    }

    /// `weights`: whether they are written too.
    pub(super) fn forward(self, vector: bool, weights: bool, dtype: Dtype) -> Specialisation {
        let form = self.specialisation(vector, dtype).define_if(weights, "WEIGHTS").constant("KEYS", self.keys);
        form.constant("COLUMNS", self.columns).constant("BLOCK", BLOCK)
    }

    pub(super) fn score_backward(self, vector: bool, dtype: Dtype) -> Specialisation {
        self.specialisation(vector, dtype).constant("KEYS", self.keys)
    }

    pub(super) fn query_backward(self, vector: bool, dtype: Dtype) -> Specialisation {
        self.specialisation(vector, dtype)
    }

    pub(super) fn key_backward(self, vector: bool, dtype: Dtype) -> Specialisation {
        self.for_keys().specialisation(vector, dtype).define("KEYS_SIDE")
    }

    /// f32 alone: the queries' gradients are summed up where they lie, tile by tile, and f16 would round each of the sums.
    pub(super) fn both_backward(self, vector: bool, dtype: Dtype) -> Option<Specialisation> {
        (self.subgroups && self.both_sides && dtype == Dtype::F32).then(|| {
            Specialisation::new()
                .define("SUBGROUPS")
                .define_if(vector, "VECTOR")
                .constant("LANES", self.lanes)
                .constant("ROWS", self.key_rows)
        })
    }

    /// The constants and forms that all kernels of the family share.
    fn specialisation(self, vector: bool, dtype: Dtype) -> Specialisation {
        Specialisation::new()
            .element(dtype)
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(vector, "VECTOR")
            .define_if(self.rows == 1, "ONE_ROW")
            .constant("LANES", self.lanes)
            .constant("ROWS", self.rows)
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = "additive_attention";
    const CLASSES: &'static [&'static str] = &["one query", "keys <= 16", "keys <= 32", "keys > 32"];

    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let shapes = [(1, 64), (8, 16), (8, 24), (8, 64), (16, 16), (16, 24), (64, 64)];
        forms::distinct(shapes.map(|(queries, keys)| Self::of(tiles, queries, keys)))
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        let shapes = (1..=64).flat_map(|queries| (1..=512).map(move |keys| (queries, keys)));
        let defaults = shapes.map(|(queries, keys)| Self::of(tiles, queries, keys));
        forms::distinct(defaults.chain(Self::candidates(tiles)))
    }
}

/// The rows of a tile that fit so many queries or keys: few rows past the end, and few tiles, which load everything again.
fn fitting(count: usize, lanes: u32) -> u32 {
    let cost = |rows: &u32| count.div_ceil(*rows as usize) * (*rows as usize + 4);
    [32, 24, 16, 8].into_iter().filter(|rows| *rows <= 4 * lanes).min_by_key(cost).unwrap_or(8)
}

/// How many keys of one query are scored together: the query is loaded again for each such group.
pub(in crate::kernels) fn keys_of_one_query(count: usize) -> u32 {
    [8, 6, 4].into_iter().min_by_key(|keys| count.div_ceil(*keys) * (keys + 2)).map_or(8, word)
}

fn of_every_tile(tiles: &Tiles, forms: impl Fn(Tile, Dtype) -> Vec<Specialisation>) -> Vec<Specialisation> {
    let every = Tile::every(tiles);
    let of = |dtype| every.iter().flat_map(|tile| forms(*tile, dtype)).collect::<Vec<_>>();
    forms::distinct(forms::each_element(tiles, of).concat())
}

pub(super) fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile, dtype| {
        [false, true].map(|weights| forms::either(|vector| tile.forward(vector, weights, dtype))).concat()
    })
}

pub(super) fn score_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile, dtype| forms::either(|vector| tile.score_backward(vector, dtype)))
}

pub(super) fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    let both = |tile: Tile, dtype, vector| vec![tile.query_backward(vector, dtype), tile.key_backward(vector, dtype)];
    of_every_tile(tiles, |tile, dtype| forms::either(|vector| both(tile, dtype, vector)).concat())
}

pub(super) fn both_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    let both = |tile: Tile, dtype| forms::either(|vector| tile.both_backward(vector, dtype));
    of_every_tile(tiles, |tile, dtype| both(tile, dtype).into_iter().flatten().collect())
}

pub(super) fn energy_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::workgroup(tiles)]
}
