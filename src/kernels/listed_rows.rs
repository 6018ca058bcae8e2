//! A few rows of each sequence, by a list of their positions: taken out, and put back. Longformer's global positions have projections
//! of their own (Beltagy, Peters and Cohan 2020, section 3.1), which are made of these rows alone.

use super::{
    expect::{expect_extents, expect_of},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static LISTED_ROWS: Shader = shader!("listed_rows", specialisations);
pub(super) static LISTED_ROWS_PUT: Shader = shader!("listed_rows/put", specialisations);

const NAME: &str = "listed_rows";

/// Rows at `positions` `[B, G]`: in ascending order, each once; those of T or more are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedRows {
    /// Sequences, B.
    pub batch: usize,
    /// Rows of a sequence, T.
    pub steps: usize,
    /// Positions of a sequence, G.
    pub listed: usize,
    /// Size of a row, D.
    pub size: usize,
}

impl ListedRows {
    /// Bytes of taking rows out.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        self.moved(self.listed, dtype)
    }

    /// Bytes of putting rows in.
    pub fn put_cost(&self, dtype: Dtype) -> Cost {
        self.moved(self.steps, dtype)
    }

    fn moved(&self, rows: usize, dtype: Dtype) -> Cost {
        let bytes = (self.batch * rows * self.size) as f64 * dtype.bytes() as f64;
        let positions = (self.batch * self.listed) as f64 * ELEMENT as f64;
        Cost { operations: 0.0, transcendental: 0.0, read: bytes + positions, written: bytes }
    }

    /// Records `y[b, g] = x[b, positions[b, g]]`, `[B, G, D]` of `x` `[B, T, D]`; a row of 0 for a position that is none.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, positions: &Tensor, y: &Tensor) -> Result<()> {
        let dtype = x.dtype().activation();
        self.check(positions)?;
        expect_of(dtype, NAME, "x", x, &self.all())?;
        expect_of(dtype, NAME, "y", y, &self.some())?;
        self.launch(recorder, &LISTED_ROWS, self.listed, &[], &[x, positions, y])
    }

    /// Records `y` `[B, T, D]`: at the positions the rows `[B, G, D]`, elsewhere `base` `[B, T, D]`. What is missing counts as 0.
    ///
    /// # Errors
    /// As [`ListedRows::record`].
    pub fn record_put(
        &self,
        recorder: &mut Recorder,
        base: Option<&Tensor>,
        rows: Option<&Tensor>,
        positions: &Tensor,
        y: &Tensor,
    ) -> Result<()> {
        let dtype = y.dtype().activation();
        self.check(positions)?;
        expect_of(dtype, NAME, "y", y, &self.all())?;
        for (argument, tensor, shape) in [("base", base, self.all()), ("rows", rows, self.some())] {
            if let Some(tensor) = tensor {
                expect_of(dtype, NAME, argument, tensor, &shape)?;
            }
        }
        let has = [base, rows].map(|tensor| usize::from(tensor.is_some()));
        // What is not there is not read.
        let [base, rows] = [base, rows].map(|tensor| tensor.unwrap_or(positions));
        self.launch(recorder, &LISTED_ROWS_PUT, self.steps, &has, &[base, rows, positions, y])
    }

    fn launch(
        &self,
        recorder: &mut Recorder,
        kernel: &'static Shader,
        rows: usize,
        besides: &[usize],
        tensors: &[&Tensor],
    ) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let vector = self.size.is_multiple_of(4);
        let dtype = tensors.last().map_or(Dtype::F32, |made| made.dtype());
        let sizes = [self.batch, self.steps, self.listed, self.size];
        let params = [sizes.as_slice(), besides].concat();
        let invocations = product(&[self.batch, rows, self.size]) / if vector { 4 } else { 1 };
        recorder.launch(&Launch {
            kernel,
            specialisation: specialisation(&tiles, dtype, vector),
            params: &params.iter().map(|word| *word as u32).collect::<Vec<_>>(),
            tensors,
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost: self.moved(rows, dtype),
        })
    }

    fn all(&self) -> [usize; 3] {
        [self.batch, self.steps, self.size]
    }

    fn some(&self) -> [usize; 3] {
        [self.batch, self.listed, self.size]
    }

    fn check(&self, positions: &Tensor) -> Result<()> {
        let Self { batch, steps, listed, size } = *self;
        expect_extents(NAME, &[("batch", batch), ("steps", steps), ("listed", listed), ("size", size)])?;
        expect_of(Dtype::U32, NAME, "positions", positions, &[batch, listed])
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector))).concat()
}
