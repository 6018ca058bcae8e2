//! The windows of a convolution along time, as those of Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional Sequence to
//! Sequence Learning" (2017), section 3.2, side by side: the convolution is then a matrix product, `windows · weightᵀ + bias`, and
//! so are its gradients.

use super::{
    expect::{expect_extents, expect_of},
    forms,
    library::shader,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static CONV1D: Shader = shader!("conv1d", specialisations);
pub(super) static CONV1D_BACKWARD: Shader = shader!("conv1d_backward", specialisations);

const NAME: &str = "conv1d";

/// Which steps a window of the convolution sees; those that x does not have are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As many before its own as after it; of an even width the odd one lies after it.
    Same,
    /// Its own and those before it, as a decoder may.
    Causal,
}

/// `windows[b, t, j] = x[b, t + j - left]`, or 0 where x `[B, T, C]` has no such step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps of a row, T.
    pub steps: usize,
    /// Channels of a step, C.
    pub channels: usize,
    /// Steps of a window.
    pub width: usize,
    /// Which steps a window sees.
    pub padding: Padding,
}

impl Conv1d {
    /// The shape of x.
    fn narrow(&self) -> [usize; 3] {
        [self.batch, self.steps, self.channels]
    }

    /// The shape of all windows: `[B, T, width, C]`.
    pub fn windows(&self) -> [usize; 4] {
        [self.batch, self.steps, self.width, self.channels]
    }

    /// Steps of a window before its own.
    fn left(&self) -> usize {
        match self.padding {
            Padding::Same => self.width.saturating_sub(1) / 2,
            Padding::Causal => self.width.saturating_sub(1),
        }
    }

    /// Operations and bytes of the windows.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let [read, written] = self.bytes(dtype);
        Cost { operations: 0.0, transcendental: 0.0, read, written }
    }

    /// Operations and bytes of the gradient of x.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let [written, read] = self.bytes(dtype);
        Cost { operations: product(&self.windows()) as f64, transcendental: 0.0, read, written }
    }

    /// Bytes of x and of its windows.
    fn bytes(&self, dtype: Dtype) -> [f64; 2] {
        [product(&self.narrow()), product(&self.windows())].map(|elements| elements as f64 * dtype.bytes() as f64)
    }

    fn launch(
        &self,
        recorder: &mut Recorder,
        kernel: &'static Shader,
        [from, to]: [&Tensor; 2],
        cost: Cost,
    ) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let vector = self.channels.is_multiple_of(4);
        let invocations = to.elements() / if vector { 4 } else { 1 };
        let rows = product(&[self.batch, self.steps]);
        recorder.launch(&Launch {
            kernel,
            specialisation: specialisation(&tiles, from.dtype(), vector),
            params: &[rows, self.steps, self.channels, self.width, self.left()].map(|value| value as u32),
            tensors: &[from, to],
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost,
        })
    }

    fn check(&self, x: (&'static str, &Tensor), windows: (&'static str, &Tensor)) -> Result<Dtype> {
        expect_extents(NAME, &[("width", self.width), ("steps", self.steps)])?;
        let dtype = x.1.dtype().activation();
        expect_of(dtype, NAME, x.0, x.1, &self.narrow())?;
        expect_of(dtype, NAME, windows.0, windows.1, &self.windows())?;
        Ok(dtype)
    }

    /// Records the windows `[B, T, width, C]` of x `[B, T, C]`, both of one type.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, windows: &Tensor) -> Result<()> {
        let dtype = self.check(("x", x), ("windows", windows))?;
        self.launch(recorder, &CONV1D, [x, windows], self.cost(dtype))
    }

    /// Records d_x `[B, T, C]` from the gradient of the windows, both of one type.
    ///
    /// # Errors
    /// As [`Conv1d::record`]; [`crate::Error::Limit`] for windows that are too wide for a driver that runs shaders on the CPU.
    pub fn record_backward(&self, recorder: &mut Recorder, d_windows: &Tensor, d_x: &Tensor) -> Result<()> {
        let dtype = self.check(("d_x", d_x), ("d_windows", d_windows))?;
        let what = || format!("windows of {} steps", self.width);
        expect_rounds(recorder.gpu(), self.width, what, "Use narrower ones.")?;
        self.launch(recorder, &CONV1D_BACKWARD, [d_windows, d_x], self.backward_cost(dtype))
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector))).concat()
}
