//! Dropout in the inverted form (Srivastava et al. 2014) with bits that are a hash of seed, step, operation and element: a
//! replay needs no state, the backward pass redraws the same mask, and ranks that share a batch draw what one process would.

use super::{
    expect::{expect_of, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static DROPOUT: Shader = shader!("dropout", specialisations);

/// Which elements of x stay or go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draw {
    /// None: each has its own bits.
    #[default]
    Element,
    /// Those of a row of x `[.., E]`, as whole words do: Nematus' and Marian's dropout of source and target words.
    Row {
        /// E.
        width: usize,
    },
    /// Those of x `[B, T, E]` that differ in t alone: variational dropout, one mask for all steps of a sequence (Gal and
    /// Ghahramani 2016, section 4).
    Sequence {
        /// T.
        steps: usize,
        /// E.
        width: usize,
    },
}

/// `y[i] = x[i] / (1 - rate)` with probability `1 - rate`, else 0. Seed and step come from [`super::Step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Elements of x, in row-major order.
    pub elements: usize,
    /// The share of elements that become 0, in `[0, 1)`.
    pub rate: f32,
    /// Which dropout of the model this is.
    pub operation: u32,
    /// Which elements share their bits.
    pub draw: Draw,
    /// Elements of a row of the batch, where x `[B, ..]` has such rows: they count among those of all ranks. 0 where it has none, such
    /// as vectors of positions: then all ranks draw the same.
    pub row: usize,
}

impl Dropout {
    /// Operations and bytes of either pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * dtype.bytes() as f64);
        // The hash: one round of ten operations an element; the rounds over seed, step and operation are shared by four.
        Cost { operations: 20.0 * elements, transcendental: 0.0, read: bytes, written: bytes }
    }

    /// Records y from x, both `[elements]` and of one type, or d_x from d_y: the operation is linear, with the same mask.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or the rate is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, step: &Tensor, y: &Tensor) -> Result<()> {
        let dtype = y.dtype();
        expect_of(dtype, "dropout", "x", x, &[self.elements])?;
        expect_of(dtype, "dropout", "y", y, &[self.elements])?;
        let rate = f64::from(self.rate);
        expect_setting("dropout", "rate", (0.0..1.0).contains(&rate), "a rate in [0, 1)", rate)?;
        let (width, span) = match self.draw {
            Draw::Element => (1, 1),
            Draw::Row { width } => (width, width),
            Draw::Sequence { steps, width } => (width, product(&[steps, width])),
        };
        let whole = span > 0 && self.elements.is_multiple_of(span);
        expect_setting("dropout", "draw", whole, "rows or sequences that make up all elements", span as f64)?;
        let whole = self.row == 0 || (self.elements.is_multiple_of(self.row) && self.row.is_multiple_of(span));
        expect_setting("dropout", "row", whole, "elements of batch rows that make up all elements", self.row as f64)?;
        let threshold = (rate * 4_294_967_296.0) as u32;
        let scale = (1.0 / (1.0 - rate)) as f32;
        let tiles = recorder.gpu().tiles();
        let (specialisation, lanes) =
            (self.draw.specialisation(self.row.is_multiple_of(4), tiles, dtype), tiles.workgroup);
        recorder.launch(&Launch {
            kernel: &DROPOUT,
            specialisation,
            params: &[
                self.elements as u32,
                self.operation,
                threshold,
                scale.to_bits(),
                width as u32,
                span as u32,
                self.row as u32,
            ],
            tensors: &[step, x, y],
            workgroups: grid(self.elements.div_ceil(4 * lanes as usize)),
            cost: self.cost(dtype),
        })
    }
}

impl Draw {
    fn specialisation(self, wide: bool, tiles: &Tiles, dtype: Dtype) -> Specialisation {
        forms::workgroup(tiles)
            .define_if(wide, "WIDE")
            .define_if(matches!(self, Self::Row { .. }), "ROWS")
            .define_if(matches!(self, Self::Sequence { .. }), "SEQUENCES")
            .element(dtype)
    }
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let all = [Draw::Element, Draw::Row { width: 1 }, Draw::Sequence { steps: 1, width: 1 }];
    let each = |dtype| [false, true].map(|wide| all.map(|draw| draw.specialisation(wide, tiles, dtype))).concat();
    forms::each_element(tiles, each).concat()
}
