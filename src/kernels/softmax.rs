//! Softmax over the valid prefix of each row.

use super::{
    expect::{expect, expect_of},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static SOFTMAX: Shader = shader!("softmax", forwards);
pub(super) static SOFTMAX_BACKWARD: Shader = shader!("softmax_backward", backwards);

/// `y[r, c] = exp(x[r, c]) / sum over c' of exp(x[r, c'])`, over the first `lengths[r]` columns of row `r`.
///
/// Masked elements are 0, whatever x holds there; a row without any element above -1e30 is all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row, masked ones included.
    pub columns: usize,
}

/// How a row is shared out.
///
/// On lavapipe (two cores, `[4096, 1024]`, bytes read and written over time; a plain copy by vec4 makes 8.4 GB/s there, by 64-bit
/// words 14):
///
/// | rung | GB/s |
/// |---|---|
/// | the row in 32 vec4 registers: unrolled code that overflows the instruction cache | 6.1 |
/// | read twice in short loops, no mask within the row | 7.1 |
/// | and in 64-bit words | 8.4 |
/// | a row for each invocation: nothing to reduce, an eighth of the workgroups | 11.1 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Invocations of a row.
    pub lanes: u32,
    /// 16-byte loads.
    pub vector: bool,
    /// 32-byte loads, in 64-bit words.
    pub wide: bool,
    /// vec4s of the row that an invocation keeps in registers; 0: the row is read twice instead.
    pub held: u32,
}

/// Two of these, as the backward holds, leave a GPU's registers to as many workgroups as it wants.
const HELD: u32 = 8;

impl Tile {
    /// The configuration for an adapter and rows of `columns` of `dtype`.
    pub fn choose(gpu: &Gpu, columns: usize, dtype: Dtype) -> Self {
        Self::of(gpu.tiles(), columns, dtype)
    }

    fn of(tiles: &Tiles, columns: usize, dtype: Dtype) -> Self {
        let vector = columns.is_multiple_of(4);
        if tiles.subgroup == Some(tiles.row) {
            let wide = tiles.wide && columns.is_multiple_of(8) && dtype == Dtype::F32;
            return Self { lanes: tiles.row, vector, wide, held: 0 };
        }
        let short = columns <= (4 * tiles.row * HELD) as usize;
        // Few long rows would leave most of a GPU idle.
        let lanes = if short { tiles.row } else { 4 * tiles.row };
        Self { lanes, vector, wide: false, held: if short && vector { HELD } else { 0 } }
    }

    fn specialisation(self, tiles: &Tiles, dtype: Dtype) -> Specialisation {
        let form = Specialisation::new()
            .element(dtype)
            .define_if(tiles.subgroup == Some(self.lanes), "SUBGROUPS")
            .define_if(self.vector, "VECTOR")
            .define_if(self.wide, "WIDE")
            .define_if(self.held > 0, "REGISTERS")
            .constant("LANES", self.lanes);
        if self.held > 0 { form.constant("HELD", self.held) } else { form }
    }
}

impl Softmax {
    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let elements = (self.rows * self.columns) as f64;
        let bytes = elements * dtype.bytes() as f64;
        Cost { operations: 4.0 * elements, transcendental: elements, read: bytes, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let elements = (self.rows * self.columns) as f64;
        let bytes = elements * dtype.bytes() as f64;
        Cost { operations: 4.0 * elements, transcendental: 0.0, read: 2.0 * bytes, written: bytes }
    }

    /// Records y from x, both `[rows, columns]` and of one type, and the rows' valid lengths `[rows]` (all columns where `None`).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, lengths: Option<&Tensor>, y: &Tensor) -> Result<()> {
        let dtype = y.dtype();
        expect_of(dtype, "softmax", "x", x, &[self.rows, self.columns])?;
        expect_of(dtype, "softmax", "y", y, &[self.rows, self.columns])?;
        if let Some(lengths) = lengths {
            expect("softmax", "lengths", lengths, &[self.rows])?;
        }
        let tile = Tile::choose(recorder.gpu(), self.columns, dtype);
        let alone = alone(tile, self.rows, self.columns);
        recorder.launch(&Launch {
            kernel: &SOFTMAX,
            specialisation: forward(recorder.gpu().tiles(), tile, dtype, alone, lengths.is_some()),
            params: &[self.rows as u32, self.columns as u32],
            tensors: &[x, lengths.unwrap_or(x), y],
            workgroups: grid(if alone { self.rows.div_ceil(tile.lanes as usize) } else { self.rows }),
            cost: self.cost(dtype),
        })
    }

    /// Records d_x from the outputs y and their gradient d_y, all `[rows, columns]`. Where y is 0, d_x is, so it needs no
    /// lengths.
    ///
    /// # Errors
    /// As [`Softmax::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, y: &Tensor, d_y: &Tensor, d_x: &Tensor) -> Result<()> {
        for (argument, tensor) in [("y", y), ("d_y", d_y), ("d_x", d_x)] {
            expect_of(y.dtype(), "softmax", argument, tensor, &[self.rows, self.columns])?;
        }
        let tile = Tile::choose(recorder.gpu(), self.columns, y.dtype());
        recorder.launch(&Launch {
            kernel: &SOFTMAX_BACKWARD,
            specialisation: tile.specialisation(recorder.gpu().tiles(), y.dtype()),
            params: &[self.rows as u32, self.columns as u32],
            tensors: &[y, d_y, d_x],
            workgroups: grid(self.rows),
            cost: self.backward_cost(y.dtype()),
        })
    }
}

/// Whether each invocation takes a row of its own. Only llvmpipe, which loads lane after lane anyway, has this for free;
/// enough rows keep many cores busy, and the rows of a workgroup stay in a core's cache until their second reading.
fn alone(tile: Tile, rows: usize, columns: usize) -> bool {
    tile.wide && rows >= 256 && columns <= 4096
}

fn forward(tiles: &Tiles, tile: Tile, dtype: Dtype, alone: bool, lengths: bool) -> Specialisation {
    tile.specialisation(tiles, dtype).define_if(alone, "ALONE").define_if(lengths, "LENGTHS")
}

/// Rows of up to this many columns meet every tile.
const MANY_COLUMNS: usize = 10_000;

fn every_tile(tiles: &Tiles) -> Vec<(Tile, Dtype)> {
    let of = |dtype| forms::distinct((1..=MANY_COLUMNS).map(|columns| (Tile::of(tiles, columns, dtype), dtype)));
    forms::each_element(tiles, of).concat()
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    let mut found = Vec::new();
    for (tile, dtype) in every_tile(tiles) {
        for lengths in [false, true] {
            found.push(forward(tiles, tile, dtype, false, lengths));
            if tile.wide {
                found.push(forward(tiles, tile, dtype, true, lengths));
            }
        }
    }
    found
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    every_tile(tiles).into_iter().map(|(tile, dtype)| tile.specialisation(tiles, dtype)).collect()
}
