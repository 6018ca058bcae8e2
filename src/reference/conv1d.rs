//! Convolution along time, as that of Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional Sequence to Sequence Learning"
//! (2017), section 3.2.

use super::expect_shape;

/// Which steps the convolution sees at step t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As many before t as after it; of an even width the odd one lies after it.
    Same,
    /// t and those before it.
    Causal,
}

/// `y[b, t, o] = bias[o] + sum over c, j of weight[o, c, j] x[b, t + j - left, c]`, x being 0 at steps that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps of a row, T.
    pub steps: usize,
    /// Channels of x, C.
    pub channels: usize,
    /// Channels of y, O.
    pub outputs: usize,
    /// Steps that one sees.
    pub width: usize,
    /// Which these are.
    pub padding: Padding,
}

/// Gradients of [`Conv1d`].
#[derive(Clone, Debug, PartialEq)]
pub struct Conv1dGradients {
    /// `[B, T, C]`
    pub x: Vec<f64>,
    /// `[O, C, width]`
    pub weight: Vec<f64>,
    /// `[O]`
    pub bias: Vec<f64>,
}

impl Conv1d {
    /// For each pair of a step of y and a step of x that it sees: the numbers of both among all rows' steps, and the tap.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { batch, steps, width, padding, .. } = *self;
        let left = match padding {
            Padding::Same => (width - 1) / 2,
            Padding::Causal => width - 1,
        };
        let of_step = move |(b, t): (usize, usize)| {
            let seen = (0..width).filter(move |j| (left..left + steps).contains(&(t + j)));
            seen.map(move |j| (b * steps + t, b * steps + t + j - left, j))
        };
        (0..batch).flat_map(move |b| (0..steps).map(move |t| (b, t))).flat_map(of_step)
    }

    fn check(&self, x: &[f64], weight: &[f64]) {
        expect_shape("x", x, &[self.batch, self.steps, self.channels]);
        expect_shape("weight", weight, &[self.outputs, self.channels, self.width]);
    }

    /// y `[B, T, O]` from x `[B, T, C]`, weight `[O, C, width]` and bias `[O]`.
    pub fn forward(&self, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        self.check(x, weight);
        expect_shape("bias", bias, &[self.outputs]);
        let mut y = bias.repeat(self.batch * self.steps);
        for (to, from, j) in self.pairs() {
            for o in 0..self.outputs {
                for c in 0..self.channels {
                    let weight = weight[(o * self.channels + c) * self.width + j];
                    y[to * self.outputs + o] += weight * x[from * self.channels + c];
                }
            }
        }
        y
    }

    /// The gradients from d_y `[B, T, O]`.
    pub fn backward(&self, x: &[f64], weight: &[f64], d_y: &[f64]) -> Conv1dGradients {
        self.check(x, weight);
        expect_shape("d_y", d_y, &[self.batch, self.steps, self.outputs]);
        let (mut d_x, mut d_weight, mut d_bias) =
            (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; self.outputs]);
        for (to, from, j) in self.pairs() {
            for o in 0..self.outputs {
                let d = d_y[to * self.outputs + o];
                for c in 0..self.channels {
                    let at = (o * self.channels + c) * self.width + j;
                    d_x[from * self.channels + c] += d * weight[at];
                    d_weight[at] += d * x[from * self.channels + c];
                }
            }
        }
        for d_y in d_y.chunks(self.outputs) {
            super::add_scaled(&mut d_bias, 1.0, d_y);
        }
        Conv1dGradients { x: d_x, weight: d_weight, bias: d_bias }
    }
}
