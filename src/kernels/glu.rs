//! The gated linear unit (Dauphin, Fan, Auli and Grangier, "Language Modeling with Gated Convolutional Networks", 2017, section 2).

use super::{expect::expect_of, forms, library::shader};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static GLU: Shader = shader!("glu", specialisations);
pub(super) static GLU_BACKWARD: Shader = shader!("glu_backward", specialisations);

const NAME: &str = "glu";

/// `y[r, c] = x[r, c] · sigmoid(x[r, columns + c])`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glu {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row of y: half of those of a row of x.
    pub columns: usize,
}

impl Glu {
    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let elements = (self.rows * self.columns) as f64;
        let bytes = elements * dtype.bytes() as f64;
        Cost { operations: 3.0 * elements, transcendental: 2.0 * elements, read: 2.0 * bytes, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let elements = (self.rows * self.columns) as f64;
        let bytes = elements * dtype.bytes() as f64;
        Cost { operations: 7.0 * elements, transcendental: 2.0 * elements, read: 3.0 * bytes, written: 2.0 * bytes }
    }

    /// The shape of x.
    fn wide(&self) -> [usize; 2] {
        [self.rows, product(&[2, self.columns])]
    }

    fn launch(&self, recorder: &mut Recorder, kernel: &'static Shader, tensors: &[&Tensor], cost: Cost) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let vector = self.columns.is_multiple_of(4);
        let invocations = product(&[self.rows, self.columns]) / if vector { 4 } else { 1 };
        recorder.launch(&Launch {
            kernel,
            specialisation: specialisation(&tiles, tensors[0].dtype(), vector),
            params: &[self.rows as u32, self.columns as u32],
            tensors,
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost,
        })
    }

    /// Records y `[rows, columns]` from x `[rows, 2 columns]`, both of one type.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
        let dtype = x.dtype().activation();
        expect_of(dtype, NAME, "x", x, &self.wide())?;
        expect_of(dtype, NAME, "y", y, &[self.rows, self.columns])?;
        self.launch(recorder, &GLU, &[x, y], self.cost(dtype))
    }

    /// Records d_x `[rows, 2 columns]` from x and d_y `[rows, columns]`, all of one type.
    ///
    /// # Errors
    /// As [`Glu::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, x: &Tensor, d_y: &Tensor, d_x: &Tensor) -> Result<()> {
        let dtype = x.dtype().activation();
        expect_of(dtype, NAME, "x", x, &self.wide())?;
        expect_of(dtype, NAME, "d_y", d_y, &[self.rows, self.columns])?;
        expect_of(dtype, NAME, "d_x", d_x, &self.wide())?;
        self.launch(recorder, &GLU_BACKWARD, &[x, d_y, d_x], self.backward_cost(dtype))
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector))).concat()
}
