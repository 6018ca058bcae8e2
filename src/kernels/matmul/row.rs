//! A single row, as generation multiplies it: a tile would throw away all rows but one. It serves f32.
//!
//! By rows of B on lavapipe, dispatch included, 256 x 256 goes from 72 to 63 us, 1024 x 75 from 95 to 52.

use super::{Activation, MATMUL_ROW, MATMUL_ROW_BY_COLUMNS, Matmul, Operands, SINGLE, Types};
use crate::{
    Result,
    gpu::{Launch, Recorder, Specialisation, Tiles},
    kernels::forms,
};

/// Columns that a workgroup computes by rows of B.
const COLUMNS: u32 = 16;

/// Lanes side by side along the columns, and slices of k, where a workgroup is no subgroup: 128 bytes of each of eight rows at a time.
const SLICED: [u32; 2] = [8, 8];

/// Pieces of columns that a lane has by columns of B. A CPU reads long runs of a row faster: the products of a GPT-2 of 768, whose weights
/// come from memory, take 100 ms a token with 1, 90 with 2, 73 with 4, 68 with 6.
const RUNS: [u32; 4] = [6, 4, 2, 1];

/// How many elements a load brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Single,
    Four,
    Eight,
}

impl Piece {
    /// The largest of which all of `extents` are multiples.
    fn of(tiles: &Tiles, extents: &[usize]) -> Self {
        let multiple = |of: usize| extents.iter().all(|extent| extent.is_multiple_of(of));
        match (multiple(4), tiles.wide && multiple(8)) {
            (_, true) => Self::Eight,
            (true, false) => Self::Four,
            (false, false) => Self::Single,
        }
    }

    fn every(tiles: &Tiles) -> &'static [Self] {
        if tiles.wide { &[Self::Single, Self::Four, Self::Eight] } else { &[Self::Single, Self::Four] }
    }

    /// Columns of a lane.
    fn columns(self) -> u32 {
        if self == Self::Eight { 8 } else { 4 }
    }
}

impl Matmul {
    /// Whether it is a single row that has a kernel of its own.
    pub(super) fn is_row(&self, types: Types) -> bool {
        types == SINGLE && self.m == 1 && self.batch == 1 && !self.transpose_a
    }

    /// As many as leave both of two cores as much to do, of those that an adapter has.
    fn runs(&self, tiles: &Tiles, piece: Piece) -> u32 {
        let two = |runs: u32| (2 * runs * lanes(tiles)[0] * piece.columns()) as usize;
        runs(tiles).iter().copied().find(|runs| self.n.is_multiple_of(two(*runs))).unwrap_or(1)
    }

    pub(super) fn record_row(&self, recorder: &mut Recorder, operands: &Operands<'_>) -> Result<()> {
        let Operands { a, b, bias, c } = *operands;
        let tiles = *recorder.gpu().tiles();
        let along = if self.transpose_b { self.k } else { self.n };
        let piece = Piece::of(&tiles, &[a.offset, b.offset, b.stride, self.k, along]);
        let params = [self.n, self.k, a.offset, b.offset, b.stride, c.offset];
        let params = [&params[..], &[bias.is_some(), self.accumulate].map(usize::from)].concat();
        let (kernel, specialisation, columns) = match self.transpose_b {
            true => (&MATMUL_ROW, of_rows(&tiles, self.activation, piece), COLUMNS),
            false => {
                let runs = self.runs(&tiles, piece);
                let columns = runs * lanes(&tiles)[0] * piece.columns();
                (&MATMUL_ROW_BY_COLUMNS, of_columns(&tiles, self.activation, piece, runs), columns)
            }
        };
        recorder.launch(&Launch {
            kernel,
            specialisation,
            params: &params.iter().map(|value| *value as u32).collect::<Vec<_>>(),
            tensors: &[a.tensor, b.tensor, bias.unwrap_or(b.tensor), c.tensor],
            workgroups: [(self.n as u32).div_ceil(columns), 1, 1],
            cost: self.cost(),
        })
    }
}

/// Lanes and slices of a workgroup by columns of B.
fn lanes(tiles: &Tiles) -> [u32; 2] {
    if tiles.subgroup == Some(tiles.row) { [tiles.row, 1] } else { SLICED }
}

/// The pieces that a lane may have.
fn runs(tiles: &Tiles) -> &'static [u32] {
    if lanes(tiles)[1] == 1 { &RUNS } else { &[1] }
}

fn form(workgroup: Specialisation, activation: Activation, piece: Piece) -> Specialisation {
    workgroup
        .define_if(piece != Piece::Single, "VECTOR")
        .define_if(piece == Piece::Eight, "WIDE")
        .define_if(activation == Activation::Tanh, "TANH")
        .define_if(activation == Activation::Sigmoid, "SIGMOID")
}

fn of_rows(tiles: &Tiles, activation: Activation, piece: Piece) -> Specialisation {
    form(forms::row_reduction(tiles), activation, piece)
}

fn of_columns(tiles: &Tiles, activation: Activation, piece: Piece, runs: u32) -> Specialisation {
    let [lanes, slices] = lanes(tiles);
    let workgroup = Specialisation::new().constant("LANES", lanes).constant("SLICES", slices).constant("RUNS", runs);
    let workgroup = match slices {
        1 => workgroup,
        _ => workgroup.define("SLICED").constant("GROUPS", 1).constant("ROWS", runs),
    };
    form(workgroup, activation, piece)
}

/// A form for each activation and piece.
fn every(tiles: &Tiles, form: impl Fn(Activation, Piece) -> Specialisation) -> Vec<Specialisation> {
    let activations = [Activation::None, Activation::Tanh, Activation::Sigmoid];
    Piece::every(tiles).iter().flat_map(|piece| activations.map(|activation| form(activation, *piece))).collect()
}

pub(super) fn by_rows(tiles: &Tiles) -> Vec<Specialisation> {
    every(tiles, |activation, piece| of_rows(tiles, activation, piece))
}

pub(super) fn by_columns(tiles: &Tiles) -> Vec<Specialisation> {
    let with = |runs: &u32| every(tiles, |activation, piece| of_columns(tiles, activation, piece, *runs));
    runs(tiles).iter().flat_map(with).collect()
}
