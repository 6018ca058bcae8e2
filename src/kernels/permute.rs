//! A tensor with its extents in another order, such as heads before steps: `[B, T, N, D]` as `[B, N, T, D]`.

use super::{
    expect::{expect_of, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static PERMUTE: Shader = shader!("permute", specialisations);

const NAME: &str = "permute";

/// `y[j0, j1, j2, j3] = x[i0, i1, i2, i3]` where `jk = i(order[k])`. Fewer extents than four have others of 1 before them.
///
/// Whole rows move fast where the last extent stays last; otherwise reads are apart, and the memory gives a fraction of its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permute {
    /// The extents of x.
    pub extents: [usize; 4],
    /// Which extent of x each extent of y is: 0 to 3, each once.
    pub order: [usize; 4],
}

impl Permute {
    /// The extents of y.
    pub fn permuted(&self) -> [usize; 4] {
        self.order.map(|extent| self.extents.get(extent).copied().unwrap_or(0))
    }

    /// The way back, which is the gradient.
    pub fn inverse(&self) -> Self {
        let mut order = [0; 4];
        for (to, from) in self.order.into_iter().enumerate() {
            if let Some(place) = order.get_mut(from) {
                *place = to;
            }
        }
        Self { extents: self.permuted(), order }
    }

    /// Bytes of the copy.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let bytes = product(&self.extents) as f64 * dtype.bytes() as f64;
        Cost { operations: 0.0, transcendental: 0.0, read: bytes, written: bytes }
    }

    /// Elements of x from one to the next along each extent of y.
    fn strides(&self) -> [usize; 4] {
        self.order.map(|extent| product(self.extents.get(extent + 1..).unwrap_or_default()))
    }

    /// Records y from x, both of one type.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements or the order is none, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
        let is_order = (0..4).all(|extent| self.order.contains(&extent));
        expect_setting(NAME, "order", is_order, "each of 0, 1, 2 and 3 once", 0.0)?;
        let dtype = x.dtype().activation();
        expect_of(dtype, NAME, "x", x, &self.extents)?;
        expect_of(dtype, NAME, "y", y, &self.permuted())?;
        let vector = self.order[3] == 3 && self.extents[3].is_multiple_of(4);
        let tiles = *recorder.gpu().tiles();
        let invocations = product(&self.extents) / if vector { 4 } else { 1 };
        let params: Vec<_> = self.permuted().into_iter().chain(self.strides()).map(|value| value as u32).collect();
        recorder.launch(&Launch {
            kernel: &PERMUTE,
            specialisation: specialisation(&tiles, dtype, vector),
            params: &params,
            tensors: &[x, y],
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
