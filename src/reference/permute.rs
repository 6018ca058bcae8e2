//! A tensor with its extents in another order.

use super::expect_shape;

/// `y[j0, j1, j2, j3] = x[i0, i1, i2, i3]` where `jk = i(order[k])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permute {
    /// The extents of x.
    pub extents: [usize; 4],
    /// Which extent of x each extent of y is.
    pub order: [usize; 4],
}

impl Permute {
    /// The place of each element of x in y, in the order of x.
    fn places(&self) -> Vec<usize> {
        let [a, b, c, d] = self.extents;
        let mut places = Vec::with_capacity(a * b * c * d);
        for i0 in 0..a {
            for i1 in 0..b {
                for i2 in 0..c {
                    for i3 in 0..d {
                        let i = [i0, i1, i2, i3];
                        places.push(self.order.iter().fold(0, |place, k| place * self.extents[*k] + i[*k]));
                    }
                }
            }
        }
        places
    }

    /// y from x.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        expect_shape("x", x, &self.extents);
        let mut y = vec![0.0; x.len()];
        for (i, place) in self.places().into_iter().enumerate() {
            y[place] = x[i];
        }
        y
    }

    /// The gradient of x from d_y.
    pub fn backward(&self, d_y: &[f64]) -> Vec<f64> {
        expect_shape("d_y", d_y, &self.extents);
        self.places().into_iter().map(|place| d_y[place]).collect()
    }
}
