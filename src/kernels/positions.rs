//! Positions: the vector of each row's place in its text, added to the row (Vaswani et al. 2017, section 3.5).

use super::{
    expect::{expect, expect_apart, expect_extents, expect_of, expect_setting},
    forms,
    library::shader,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static POSITIONS: Shader = shader!("positions", forwards);
pub(super) static POSITIONS_BACKWARD: Shader = shader!("positions_backward", backwards);

const NAME: &str = "positions";

/// `y[b, t] = factor * x[b, t] + table[first + t]`; in a search, where all rows are of one step, `t` is that step's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positions {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Places of a row, T.
    pub steps: usize,
    /// Size of a vector, D.
    pub size: usize,
    /// Rows of the table, P.
    pub places: usize,
    /// The row of the table that is the first place's.
    pub first: usize,
    /// The factor on x: the root of D where embedded words are scaled (section 3.4), else 1.
    pub factor: f32,
}

/// The order of sines and cosines in [`sinusoids`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A sine, its cosine, the next sine, as in the paper.
    InTurn,
    /// All sines, then all cosines, as in Marian.
    SinesFirst,
}

/// The sine and the cosine of `t / 10000^(2i / D)` for each place t and pair i (Vaswani et al. 2017, section 3.5), `[places, D]`,
/// rounded once from f64: a shader's own sine errs by far more. Of an odd D the last sine has no cosine.
pub fn sinusoids(places: usize, size: usize, order: Order) -> Vec<f32> {
    let sines = size.div_ceil(2);
    let value = |at: usize| {
        let (place, column) = (at / size, at % size);
        let (pair, is_sine) = match order {
            Order::InTurn => (column / 2, column.is_multiple_of(2)),
            Order::SinesFirst => (column % sines, column < sines),
        };
        let angle = place as f64 / 10_000_f64.powf(2.0 * pair as f64 / size as f64);
        (if is_sine { angle.sin() } else { angle.cos() }) as f32
    };
    (0..places * size).map(value).collect()
}

/// What [`Positions::record`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, D]`
    pub x: &'a Tensor,
    /// `[P, D]`
    pub table: &'a Tensor,
    /// `[1]`, u32: steps before these, in a search. Places past the table's end then have its last vector.
    pub counter: Option<&'a Tensor>,
}

/// What [`Positions::record_backward`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, D]`
    pub x: &'a Tensor,
    /// `[P, D]`
    pub table: &'a Tensor,
}

impl Positions {
    fn elements(&self) -> f64 {
        (self.batch * self.steps * self.size) as f64
    }

    /// Operations and bytes of the forward pass, with x and y of `dtype`; a place's vector is read once.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (elements, bytes) = (self.elements(), self.elements() * dtype.bytes() as f64);
        let vectors = (self.steps * self.size) as f64 * ELEMENT as f64;
        Cost { operations: 2.0 * elements, transcendental: 0.0, read: bytes + vectors, written: bytes }
    }

    /// Operations and bytes of the backward pass, with d_x and d_y of `dtype`.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let (elements, bytes) = (self.elements(), self.elements() * dtype.bytes() as f64);
        let table = (self.places * self.size) as f64 * ELEMENT as f64;
        Cost { operations: 2.0 * elements, transcendental: 0.0, read: bytes, written: bytes + table }
    }

    /// Checks the extents, and that the table has a place for every step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub(crate) fn check(&self) -> Result<()> {
        let Self { batch, steps, size, places, first, factor } = *self;
        expect_extents(NAME, &[("batch", batch), ("steps", steps), ("size", size), ("places", places)])?;
        let inside = first.checked_add(steps).is_some_and(|end| end <= places);
        expect_setting(NAME, "first", inside, "a place for every step in the table", first as f64)?;
        expect_setting(NAME, "factor", factor.is_finite(), "a finite number", f64::from(factor))
    }

    fn params(&self, rows: usize) -> [u32; 6] {
        let [rows, size, steps, first, places] =
            [rows, self.size, self.steps, self.first, self.places].map(|extent| extent as u32);
        [rows, size, steps, first, places, self.factor.to_bits()]
    }

    fn vector(&self) -> bool {
        self.size.is_multiple_of(4)
    }

    /// Records y `[B, T, D]`, of x's type.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as stated or the table has no row for a step, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, y: &Tensor) -> Result<()> {
        let Inputs { x, table, counter } = *inputs;
        let shape = [self.batch, self.steps, self.size];
        self.check()?;
        // Only searches count, and they compute in f32.
        let dtype = if counter.is_some() { Dtype::F32 } else { y.dtype().activation() };
        expect_of(dtype, NAME, "x", x, &shape)?;
        expect_of(dtype, NAME, "y", y, &shape)?;
        expect_of(Dtype::F32, NAME, "table", table, &[self.places, self.size])?;
        if let Some(counter) = counter {
            expect_of(Dtype::U32, NAME, "counter", counter, &[1])?;
        }
        // What is not there is not read.
        let tensors = [x, table, y, counter.unwrap_or(table)];
        self.launch(recorder, &POSITIONS, counter.is_some(), dtype, &tensors)
    }

    /// Records the gradients of x and of the whole table, from d_y `[B, T, D]`.
    ///
    /// # Errors
    /// As [`Positions::record`]; [`crate::Error::Limit`] for a batch of more rows than a loop of the driver has rounds.
    pub fn record_backward(&self, recorder: &mut Recorder, d_y: &Tensor, gradients: &Gradients<'_>) -> Result<()> {
        let Gradients { x, table } = *gradients;
        let (shape, dtype) = ([self.batch, self.steps, self.size], d_y.dtype().activation());
        self.check()?;
        let what = || format!("the gradient of positions in {} rows", self.batch);
        expect_rounds(recorder.gpu(), self.batch, what, "Use smaller batches, or a GPU.")?;
        expect_of(dtype, NAME, "d_y", d_y, &shape)?;
        expect_of(dtype, NAME, "d_x", x, &shape)?;
        expect(NAME, "d_table", table, &[self.places, self.size])?;
        expect_apart(NAME, &[("d_x", x), ("d_table", table)])?;
        self.launch(recorder, &POSITIONS_BACKWARD, false, dtype, &[d_y, x, table])
    }

    fn launch(
        &self,
        recorder: &mut Recorder,
        kernel: &'static Shader,
        counted: bool,
        dtype: Dtype,
        tensors: &[&Tensor],
    ) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let forward = kernel.name == POSITIONS.name;
        // Forward an invocation has a part of a row, backward that part of all rows of a place.
        let rows = if forward { self.batch * self.steps } else { self.places };
        let invocations = rows * self.size / if self.vector() { 4 } else { 1 };
        recorder.launch(&Launch {
            kernel,
            specialisation: specialisation(&tiles, dtype, self.vector(), counted),
            params: &self.params(if forward { rows } else { self.batch }),
            tensors,
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost: if forward { self.cost(dtype) } else { self.backward_cost(dtype) },
        })
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool, counted: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(vector, "VECTOR").define_if(counted, "COUNTED").element(dtype)
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector, false))).concat()
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    let counted = forms::either(|vector| specialisation(tiles, Dtype::F32, vector, true));
    [backwards(tiles), counted].concat()
}
