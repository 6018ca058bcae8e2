//! Kernels whose tiles `softalign tune` measures. A kernel names a few classes of shapes and a few candidates; what was
//! measured to be better than its default for a class is looked up here when it chooses a tile.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::gpu::{Gpu, Tiles};

/// A kernel's tile that can be tuned.
pub trait Tunable: Copy + PartialEq + Serialize + DeserializeOwned {
    /// The kernel's name.
    const KERNEL: &'static str;

    /// Every class of shapes that the kernel tells apart.
    const CLASSES: &'static [&'static str];

    /// What may be chosen on an adapter, whatever the shape: right for each, fast for some.
    fn candidates(tiles: &Tiles) -> Vec<Self>;

    /// What has a form on an adapter: the candidates, and the default of each shape.
    fn every(tiles: &Tiles) -> Vec<Self>;
}

/// What was measured to be best for a class of shapes.
pub(super) fn tuned<T: Tunable>(gpu: &Gpu, class: &str) -> Option<T> {
    let tile = T::deserialize(gpu.tile_table().get(T::KERNEL, class)?).ok()?;
    T::candidates(gpu.tiles()).contains(&tile).then_some(tile)
}

/// A row of [`super::TUNABLE`].
#[derive(Clone, Copy, Debug)]
pub struct TunableKernel {
    /// The kernel's name.
    pub name: &'static str,
    /// As [`Tunable::CLASSES`].
    pub classes: &'static [&'static str],
    /// As [`Tunable::candidates`], as they stand in a [`crate::gpu::TileTable`].
    pub candidates: fn(&Tiles) -> Vec<Value>,
}

impl TunableKernel {
    /// The row of the kernel of a tile.
    pub(super) const fn of<T: Tunable>() -> Self {
        Self {
            name: T::KERNEL,
            classes: T::CLASSES,
            candidates: |tiles| {
                T::candidates(tiles).iter().filter_map(|tile| serde_json::to_value(tile).ok()).collect()
            },
        }
    }
}
