//! Steps past each sequence's length set to 0, and those before it multiplied with the root of the length: Gehring, Auli, Grangier,
//! Yarats and Dauphin, "Convolutional Sequence to Sequence Learning" (2017), section 3.4, which makes up for what an average of
//! so many values loses of their variance.

use super::{
    expect::{expect_extents, expect_of},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static LENGTH_MASK: Shader = shader!("length_mask", specialisations);

const NAME: &str = "length_mask";

/// `y[b, t, c] = factor * x[b, t, c]` where `t < lengths[b]`, and 0 past it; the factor is `sqrt(lengths[b])` or 1.
///
/// The gradient of x is the same of that of y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthMask {
    /// Sequences, B.
    pub batch: usize,
    /// Steps of each, T.
    pub steps: usize,
    /// Channels of a step, C.
    pub channels: usize,
    /// Whether the factor is the length's root.
    pub root: bool,
}

impl LengthMask {
    fn shape(&self) -> [usize; 3] {
        [self.batch, self.steps, self.channels]
    }

    /// Operations and bytes.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let elements = product(&self.shape()) as f64;
        let bytes = elements * dtype.bytes() as f64;
        let lengths = ELEMENT as f64 * self.batch as f64;
        Cost { operations: elements, transcendental: 0.0, read: bytes + lengths, written: bytes }
    }

    /// Records y from x, both `[B, T, C]` of one type, and `lengths` `[B]`, u32. A length past T is T.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, lengths: &Tensor, y: &Tensor) -> Result<()> {
        expect_extents(NAME, &[("batch", self.batch), ("steps", self.steps), ("channels", self.channels)])?;
        let dtype = x.dtype().activation();
        expect_of(dtype, NAME, "x", x, &self.shape())?;
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[self.batch])?;
        expect_of(dtype, NAME, "y", y, &self.shape())?;
        let vector = self.channels.is_multiple_of(4);
        let tiles = *recorder.gpu().tiles();
        let invocations = product(&self.shape()) / if vector { 4 } else { 1 };
        recorder.launch(&Launch {
            kernel: &LENGTH_MASK,
            specialisation: specialisation(&tiles, dtype, vector),
            params: &[self.batch as u32, self.steps as u32, self.channels as u32, u32::from(self.root)],
            tensors: &[x, lengths, y],
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost: self.cost(dtype),
        })
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| specialisation(tiles, dtype, vector))).concat()
}
