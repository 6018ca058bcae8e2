//! Sums over a whole tensor, of its squares, or over its rows; each in two dispatches of a fixed order. Sums and their gradients
//! are f32, whatever is summed.

use super::{
    expect::{expect, expect_of, expect_scratch},
    forms,
    library::shader,
    rounds::MOST_ROUNDS,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static REDUCTION: Shader = shader!("reduction", totals);
pub(super) static REDUCTION_BACKWARD: Shader = shader!("reduction_backward", spreads);
pub(super) static REDUCTION_COLUMNS: Shader = shader!("reduction/columns", columns);

/// The most partial sums of one tensor: few enough for one workgroup to add up.
pub(super) const PARTIALS: usize = 1024;

/// The longest loop, which a sum may go through twice: [`super::rounds`].
const LONGEST_LOOP: usize = MOST_ROUNDS / 2;

/// How a tensor of `elements` is split: (vec4s of one workgroup, number of workgroups).
pub(super) fn split(gpu: &Gpu, elements: usize) -> (usize, usize) {
    let (vectors, lanes) = (elements.div_ceil(4), gpu.tiles().row as usize);
    // Sixteen loads a lane amortise a workgroup; then the sums are short, and so is their error.
    let span = vectors.div_ceil(PARTIALS).next_multiple_of(lanes).max(16 * lanes);
    (span, vectors.div_ceil(span))
}

fn total(tiles: &Tiles, dtype: Dtype, squares: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(squares, "SQUARES").element(dtype)
}

fn spread(tiles: &Tiles, dtype: Dtype, squares: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(squares, "SQUARES").element(dtype)
}

fn column_sum(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::in_fours(forms::row(tiles), tiles, dtype, vector).constant("COLUMNS", tiles.columns)
}

fn totals(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|squares| total(tiles, dtype, squares))).concat()
}

fn spreads(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|squares| spread(tiles, dtype, squares))).concat()
}

fn columns(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| column_sum(tiles, dtype, vector))).concat()
}

fn pass_cost(elements: usize, dtype: Dtype, partials: usize, squares: bool) -> Cost {
    let operations = if squares { 2.0 } else { 1.0 };
    Cost {
        operations: operations * elements as f64,
        transcendental: 0.0,
        read: elements as f64 * dtype.bytes() as f64,
        written: partials as f64 * ELEMENT as f64,
    }
}

fn record_total(
    recorder: &mut Recorder,
    elements: usize,
    squares: bool,
    [x, scratch, out]: [&Tensor; 3],
) -> Result<()> {
    let dtype = x.dtype();
    expect_of(dtype, "reduction", "x", x, &[elements])?;
    expect("reduction", "out", out, &[1])?;
    let (span, groups) = split(recorder.gpu(), elements);
    expect_scratch("reduction", scratch, groups)?;
    let tiles = *recorder.gpu().tiles();
    recorder.launch(&Launch {
        kernel: &REDUCTION,
        specialisation: total(&tiles, dtype, squares),
        params: &[elements as u32, span as u32],
        tensors: &[x, scratch],
        workgroups: [groups as u32, 1, 1],
        cost: pass_cost(elements, dtype, groups, squares),
    })?;
    record_partials(recorder, groups, scratch, out)
}

/// Records the sum of the first elements of `partials` in one workgroup.
pub(super) fn record_partials(recorder: &mut Recorder, count: usize, partials: &Tensor, out: &Tensor) -> Result<()> {
    recorder.launch(&Launch {
        kernel: &REDUCTION,
        specialisation: total(recorder.gpu().tiles(), Dtype::F32, false),
        params: &[count as u32, count as u32],
        tensors: &[partials, out],
        workgroups: [1, 1, 1],
        cost: pass_cost(count, Dtype::F32, 1, false),
    })
}

/// `columns` sums, each spread over the rows of d_x; with x, the gradient of the sum of squares.
fn record_spread(
    recorder: &mut Recorder,
    elements: usize,
    columns: usize,
    x: Option<&Tensor>,
    d: &Tensor,
    d_x: &Tensor,
) -> Result<()> {
    let dtype = d_x.dtype();
    expect_of(dtype, "reduction", "x", x.unwrap_or(d_x), &[elements])?;
    expect("reduction", "d", d, &[columns])?;
    expect_of(dtype, "reduction", "d_x", d_x, &[elements])?;
    let tiles = *recorder.gpu().tiles();
    let bytes = elements as f64 * dtype.bytes() as f64;
    recorder.launch(&Launch {
        kernel: &REDUCTION_BACKWARD,
        specialisation: spread(&tiles, dtype, x.is_some()),
        params: &[elements as u32, columns as u32],
        tensors: &[x.unwrap_or(d), d, d_x],
        workgroups: grid(elements.div_ceil(4 * tiles.workgroup as usize)),
        cost: Cost {
            operations: if x.is_some() { 2.0 * elements as f64 } else { 0.0 },
            transcendental: 0.0,
            read: columns as f64 * ELEMENT as f64 + if x.is_some() { bytes } else { 0.0 },
            written: bytes,
        },
    })
}

/// The sum of all elements, `[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Elements of x.
    pub elements: usize,
}

impl Sum {
    /// Elements of scratch that suffice on every adapter.
    pub fn scratch(&self) -> usize {
        PARTIALS
    }

    /// Operations and bytes of the forward pass in f32.
    pub fn cost(&self) -> Cost {
        pass_cost(self.elements, Dtype::F32, 1, false)
    }

    /// Records out `[1]` from x, any shape of `elements`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, scratch: &Tensor, out: &Tensor) -> Result<()> {
        record_total(recorder, self.elements, false, [x, scratch, out])
    }

    /// Records d_x from d `[1]`.
    ///
    /// # Errors
    /// As [`Sum::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, d: &Tensor, d_x: &Tensor) -> Result<()> {
        record_spread(recorder, self.elements, 1, None, d, d_x)
    }
}

/// The sum of the squares of all elements, `[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumOfSquares {
    /// Elements of x.
    pub elements: usize,
}

impl SumOfSquares {
    /// Elements of scratch that suffice on every adapter.
    pub fn scratch(&self) -> usize {
        PARTIALS
    }

    /// Operations and bytes of the forward pass in f32.
    pub fn cost(&self) -> Cost {
        pass_cost(self.elements, Dtype::F32, 1, true)
    }

    /// Records out `[1]` from x, any shape of `elements`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, scratch: &Tensor, out: &Tensor) -> Result<()> {
        record_total(recorder, self.elements, true, [x, scratch, out])
    }

    /// Records d_x = 2 x d, from x and d `[1]`.
    ///
    /// # Errors
    /// As [`SumOfSquares::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, x: &Tensor, d: &Tensor, d_x: &Tensor) -> Result<()> {
        record_spread(recorder, self.elements, 1, Some(x), d, d_x)
    }
}

/// The sum `[columns]` of the rows of `[rows, columns]`: the gradient of a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSum {
    /// Rows of x.
    pub rows: usize,
    /// Columns of x, and elements of the sum.
    pub columns: usize,
}

impl ColumnSum {
    /// Rows that one invocation adds up: the root, so that both passes are about as long, and errors small.
    fn block(&self) -> usize {
        ((self.rows as f64).sqrt().ceil() as usize).max(16)
    }

    /// Elements of scratch.
    pub fn scratch(&self) -> usize {
        product(&[self.rows.div_ceil(self.block()), self.columns])
    }

    /// Operations and bytes of the forward pass in f32.
    pub fn cost(&self) -> Cost {
        pass_cost(self.rows * self.columns, Dtype::F32, self.columns, false)
    }

    /// As [`ColumnSum::block`], if no loop over it is too long.
    pub(super) fn expect_block(&self) -> Result<usize> {
        let block = self.block();
        if block <= LONGEST_LOOP {
            return Ok(block);
        }
        Err(Error::Limit {
            what: format!("the sum of {} rows", self.rows),
            need: block as u64,
            limit: "longest loop",
            have: LONGEST_LOOP as u64,
            remedy: "Use a smaller batch or shorter sequences.".into(),
        })
    }

    /// The workgroups of a kernel that goes through blocks of rows, each invocation taking some columns.
    pub(super) fn workgroups(&self, tiles: &Tiles, block: usize) -> [u32; 3] {
        // Columns are few: small workgroups spread them over more of the adapter.
        let wide = (tiles.row * tiles.columns) as usize * if self.is_vector() { 4 } else { 1 };
        [self.columns.div_ceil(wide) as u32, self.rows.div_ceil(block) as u32, 1]
    }

    fn is_vector(&self) -> bool {
        self.columns.is_multiple_of(4)
    }

    fn pass(&self, recorder: &mut Recorder, block: usize, x: &Tensor, y: &Tensor) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let blocks = self.rows.div_ceil(block);
        recorder.launch_rounds(
            &Launch {
                kernel: &REDUCTION_COLUMNS,
                specialisation: column_sum(&tiles, x.dtype(), self.is_vector()),
                params: &[self.rows as u32, self.columns as u32, block as u32],
                tensors: &[x, y],
                workgroups: self.workgroups(&tiles, block),
                cost: pass_cost(self.rows * self.columns, x.dtype(), blocks * self.columns, false),
            },
            block,
        )
    }

    /// Records out `[columns]` from x `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has another number of elements, [`Error::Limit`] past 900 million rows, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, scratch: &Tensor, out: &Tensor) -> Result<()> {
        expect_of(x.dtype(), "reduction", "x", x, &[self.rows, self.columns])?;
        expect("reduction", "out", out, &[self.columns])?;
        expect_scratch("reduction", scratch, self.scratch())?;
        let block = self.expect_block()?;
        self.pass(recorder, block, x, scratch)?;
        self.record_blocks(recorder, block, scratch, out)
    }

    /// Records out `[columns]` from the sums of blocks of rows, the first elements of `sums`.
    pub(super) fn record_blocks(
        &self,
        recorder: &mut Recorder,
        block: usize,
        sums: &Tensor,
        out: &Tensor,
    ) -> Result<()> {
        let blocks = Self { rows: self.rows.div_ceil(block), ..*self };
        blocks.pass(recorder, blocks.rows, sums, out)
    }

    /// Records d_x `[rows, columns]` from d `[columns]`.
    ///
    /// # Errors
    /// As [`ColumnSum::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, d: &Tensor, d_x: &Tensor) -> Result<()> {
        record_spread(recorder, self.rows * self.columns, self.columns, None, d, d_x)
    }
}
