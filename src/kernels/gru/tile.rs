//! What a workgroup of a step of the GRU computes, by adapter and number of rows, and the forms that follow from it.

use serde::{Deserialize, Serialize};

use crate::{
    gpu::{Dtype, Gpu, Specialisation, Tiles, product},
    kernels::{
        forms,
        tunable::{Tunable, tuned},
    },
};

/// The most invocations of a workgroup on any adapter.
const WORKGROUP: u32 = 256;

/// What one workgroup of a step computes: some rows of 4 * `lanes` hidden columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// The subgroup form (`lanes` is the subgroup's size), or the form whose sums are sliced over a workgroup.
    pub subgroups: bool,
    /// Invocations along the hidden columns.
    pub lanes: u32,
    /// Invocations along the rows (1 in the subgroup form).
    pub groups: u32,
    /// Rows per invocation, forward: three or four sums each.
    pub rows: u32,
    /// Rows per invocation, backward: one sum each.
    pub backward_rows: u32,
}

impl Tile {
    /// The configuration for an adapter and a step: its rows and states' size, and how many directions are side by side.
    ///
    /// A single row, H = 256 on lavapipe, dispatch included: in a tile of 8 rows 127 us; lanes along k 113; in 64-bit words 92.
    /// With a context of 512: 286, 246, 180. 32 rows forward, with three or four sums each, take 1.3 times as long as 16 where a CPU has
    /// 16 vector registers and its driver is Mesa 26, 2.4 times with Mesa 25, and 0.8 times where loads decide (Mesa 22.3).
    pub fn choose(gpu: &Gpu, [rows, hidden]: [usize; 2], directions: usize) -> Self {
        tuned(gpu, Self::class(rows))
            .unwrap_or_else(|| Self::of(gpu.tiles(), rows).filling(gpu.tiles().units, [rows, hidden, directions]))
    }

    pub(super) fn of(tiles: &Tiles, rows: usize) -> Self {
        match tiles.subgroup {
            Some(lanes) => {
                let fitting = (rows.min(1 << 16) as u32).next_multiple_of(lanes);
                let backward_rows = if fitting > 2 * lanes { 4 * lanes } else { fitting };
                let most = if tiles.few_registers { 2 * lanes } else { 4 * lanes };
                let rows = if rows == 1 { 1 } else { backward_rows.min(most) };
                Self { subgroups: true, lanes, groups: 1, rows, backward_rows }
            }
            None => Self { subgroups: false, lanes: 8, groups: 4, rows: 4, backward_rows: 4 },
        }
    }

    fn specialisation(&self, dtype: Dtype, vector: bool, rows: u32) -> Specialisation {
        let form = Specialisation::new()
            .element(dtype)
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(vector, "VECTOR")
            .constant("LANES", self.lanes)
            .constant("GROUPS", self.groups)
            .constant("ROWS", rows);
        if self.subgroups { form } else { form.constant("SLICES", self.slices()) }
    }

    /// Fewer rows a workgroup, and more slices of their sums where there is room, while some of so many units would be without a
    /// workgroup.
    fn filling(self, units: usize, [rows, hidden, directions]: [usize; 3]) -> Self {
        let halved = Self { groups: self.groups / 2, ..self };
        let fills = || {
            let workgroups = self.workgroups(rows, hidden, self.rows, directions);
            product(&workgroups.map(|count| count as usize)) >= units
        };
        if self.subgroups || halved.groups == 0 || fills() {
            self
        } else {
            halved.filling(units, [rows, hidden, directions])
        }
    }

    /// How many invocations share the sums of one: they fill a workgroup.
    fn slices(&self) -> u32 {
        if self.subgroups { 1 } else { (WORKGROUP / (self.lanes * self.groups)).clamp(1, 16) }
    }

    /// The class of steps over so many rows.
    pub fn class(rows: usize) -> &'static str {
        match rows {
            0..=1 => "1 row",
            2..=8 => "rows <= 8",
            9..=16 => "rows <= 16",
            _ => "rows > 16",
        }
    }

    pub(super) fn forward(&self, tiles: &Tiles, dtype: Dtype, loads: Loads, form: Form) -> Specialisation {
        let Form { attended, dropout, picked } = form;
        let one_row = self.subgroups && self.rows == 1;
        let textures = self.subgroups && tiles.textures && !one_row && loads != Loads::Single;
        self.specialisation(dtype, loads != Loads::Single, self.rows)
            .define_if(!one_row && loads != Loads::Single && forms::words(tiles, dtype), "WORDS")
            .define_if(attended, "ATTENDED")
            .define_if(dropout, "DROPOUT")
            // In f32 a table's products are like any others.
            .define_if(picked && dtype == Dtype::F16, "PICKED")
            .define_if(one_row, "ONE_ROW")
            .define_if(one_row && loads == Loads::Eight, "WIDE")
            .textures(&[(textures, "TEXTURE_weight_hh"), (textures && attended, "TEXTURE_weight_ih")])
    }

    pub(super) fn backward(&self, tiles: &Tiles, dtype: Dtype, vector: bool, dropout: bool) -> Specialisation {
        self.specialisation(dtype, vector, self.backward_rows)
            .define_if(vector && forms::words(tiles, dtype), "WORDS")
            .define_if(dropout, "DROPOUT")
    }

    /// Steps of k between loads that are waited for; backward two blocks of them are under way.
    pub(super) fn depth(&self, backward: bool) -> usize {
        let at_once = if backward && !self.subgroups { 2 } else { 1 };
        (at_once * 4 * self.slices()) as usize
    }

    pub(super) fn workgroups(&self, rows: usize, hidden: usize, rows_each: u32, directions: usize) -> [u32; 3] {
        let (width, height) = (4 * self.lanes, self.groups * rows_each);
        [(hidden as u32).div_ceil(width), (rows as u32).div_ceil(height), directions as u32]
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = "gru";
    const CLASSES: &'static [&'static str] = &["1 row", "rows <= 8", "rows <= 16", "rows > 16"];

    /// On GPUs a step is small: smaller tiles fill more of the card, larger ones read the weights less often.
    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let defaults = [1, 8, 16, 32].map(|rows| Self::of(tiles, rows));
        let of_lanes = |lanes| [2, 4].map(|rows| Self { rows: rows * lanes, ..Self::of(tiles, 4 * lanes as usize) });
        let largest = tiles.subgroup.into_iter().flat_map(of_lanes);
        let in_workgroup_memory = |[lanes, groups]: [u32; 2]| Self { lanes, groups, ..defaults[0] };
        let others = [[8, 1], [8, 2], [16, 2], [8, 8], [8, 16], [16, 8]].map(in_workgroup_memory);
        let others = others.into_iter().filter(|_| tiles.subgroup.is_none());
        forms::distinct(defaults.into_iter().chain(largest).chain(others))
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        forms::distinct((1..=512).map(|rows| Self::of(tiles, rows)).chain(Self::candidates(tiles)))
    }
}

/// What a step has beside its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// A context.
    pub attended: bool,
    /// A mask on its states.
    pub dropout: bool,
    /// Inputs that are picked from a table's products.
    pub picked: bool,
}

/// How many elements of the weights a load brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loads {
    /// Sizes, offsets or strides are no multiples of four.
    Single,
    Four,
    Eight,
}

pub(super) fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    let every = Tile::every(tiles);
    let of = |dtype| {
        let loads = [Loads::Single, Loads::Four, Loads::Eight];
        let loads = loads.into_iter().filter(|loads| *loads != Loads::Eight || forms::words(tiles, dtype));
        // What has a context has neither a mask nor a table.
        let of_load = |tile: &Tile, loads| {
            let plain = Form { attended: false, dropout: false, picked: false };
            let either = |picked| [false, true].map(|dropout| Form { dropout, picked, ..plain });
            let forms = [&either(false)[..], &either(true), &[Form { attended: true, ..plain }]].concat();
            forms.into_iter().map(|form| tile.forward(tiles, dtype, loads, form)).collect::<Vec<_>>()
        };
        loads.flat_map(|loads| every.iter().flat_map(move |tile| of_load(tile, loads))).collect::<Vec<_>>()
    };
    forms::distinct(forms::each_element(tiles, of).concat())
}

pub(super) fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    let every = Tile::every(tiles);
    let form = |tile: &Tile, dtype| {
        forms::either(|vector| forms::either(|dropout| tile.backward(tiles, dtype, vector, dropout))).concat()
    };
    let of = |dtype| every.iter().flat_map(|tile| form(tile, dtype)).collect::<Vec<_>>();
    forms::distinct(forms::each_element(tiles, of).concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{AdapterClass, Offers};

    #[test]
    fn few_registers_bring_other_tiles_and_no_other_forms() {
        let of = |few_registers| {
            let offers = Offers { subgroup: Some(8), words64: true, f16: true, few_registers, ..Offers::default() };
            Tiles::for_adapter(AdapterClass::Cpu, offers)
        };
        let rows = |tiles: &Tiles| {
            [1, 8, 16, 64].map(|rows| Tile::of(tiles, rows)).map(|tile| [tile.rows, tile.backward_rows])
        };
        assert_eq!(rows(&of(false)), [[1, 8], [8, 8], [16, 16], [32, 32]]);
        assert_eq!(rows(&of(true)), [[1, 8], [8, 8], [16, 16], [16, 32]]);
        for forms in [forwards, backwards] {
            let known = forms(&of(false));
            assert!(forms(&of(true)).iter().all(|form| known.contains(form)));
        }
    }
}
