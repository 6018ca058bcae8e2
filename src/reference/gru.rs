//! The gated recurrent unit: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014), section 2.3,
//! in the form of cuDNN and PyTorch (reset applied after the recurrent product, update weighting the old state).

use super::{Real, add_scaled, dot, expect_lengths, expect_shape, sigmoid};

/// One layer over whole rows, in one or two directions. One step is
///
/// ```text
/// r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
/// z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
/// n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))
/// h' = (1 - z) * n + z * h
/// ```
///
/// With a mask, W_hr, W_hz and W_hn meet `mask * h` in place of h, at every step the same mask; z weights h itself. That is the
/// variational dropout of Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks"
/// (2016), section 4, for a GRU.
///
/// Rows are packed sequences: beyond a row's length the output is 0 and the state stays, and the second direction
/// starts at the row's last valid step. A row of length 0 keeps its initial state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gru {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps of each row, S, masked ones included.
    pub steps: usize,
    /// Size of one input, I.
    pub input: usize,
    /// Size of the hidden state, H.
    pub hidden: usize,
    /// 1 (forward) or 2 (forward, then reverse), D.
    pub directions: usize,
}

/// Parameters of one direction, or their gradients; the gates are stacked in the order r, z, n.
#[derive(Clone, Debug, PartialEq)]
pub struct GruWeights<R = f64> {
    /// `[3H, I]`.
    pub weight_ih: Vec<R>,
    /// `[3H, H]`.
    pub weight_hh: Vec<R>,
    /// `[3H]`.
    pub bias_ih: Vec<R>,
    /// `[3H]`.
    pub bias_hh: Vec<R>,
}

/// What [`Gru::forward`] computes.
#[derive(Clone, Debug, PartialEq)]
pub struct GruOutputs<R = f64> {
    /// `[B, S, D*H]`, the hidden states, directions side by side.
    pub y: Vec<R>,
    /// `[D, B, H]`, the state after the last valid step.
    pub hn: Vec<R>,
}

/// Gradients of [`Gru`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct GruGradients<R = f64> {
    /// `[B, S, I]`.
    pub x: Vec<R>,
    /// `[D, B, H]`.
    pub h0: Vec<R>,
    /// One per direction.
    pub weights: Vec<GruWeights<R>>,
}

struct Gates<R> {
    reset: Vec<R>,
    update: Vec<R>,
    candidate: Vec<R>,
    /// `W_hn h + b_hn`, which the reset gate scales.
    recurrent: Vec<R>,
}

impl<R: Real> GruWeights<R> {
    /// Parameters of zeros, to accumulate gradients in.
    pub fn zeros(input: usize, hidden: usize) -> Self {
        Self {
            weight_ih: vec![R::from(0.0); 3 * hidden * input],
            weight_hh: vec![R::from(0.0); 3 * hidden * hidden],
            bias_ih: vec![R::from(0.0); 3 * hidden],
            bias_hh: vec![R::from(0.0); 3 * hidden],
        }
    }

    pub(super) fn check(&self, input: usize, hidden: usize) {
        expect_shape("weight_ih", &self.weight_ih, &[3, hidden, input]);
        expect_shape("weight_hh", &self.weight_hh, &[3, hidden, hidden]);
        expect_shape("bias_ih", &self.bias_ih, &[3, hidden]);
        expect_shape("bias_hh", &self.bias_hh, &[3, hidden]);
    }

    /// `h` is what enters the recurrent products.
    fn gates(&self, x: &[R], h: &[R]) -> Gates<R> {
        let (input, hidden) = (x.len(), h.len());
        let from_x = |row| dot(&self.weight_ih[row * input..][..input], x) + self.bias_ih[row];
        let from_h = |row| dot(&self.weight_hh[row * hidden..][..hidden], h) + self.bias_hh[row];
        let gate = |row| sigmoid(from_x(row) + from_h(row));
        let reset: Vec<R> = (0..hidden).map(gate).collect();
        let update = (hidden..2 * hidden).map(gate).collect();
        let recurrent: Vec<R> = (2 * hidden..3 * hidden).map(from_h).collect();
        let candidate = (0..hidden).map(|j| (from_x(2 * hidden + j) + reset[j] * recurrent[j]).tanh()).collect();
        Gates { reset, update, candidate, recurrent }
    }

    /// The next state `[H]` from one input x `[I]`, the state h `[H]` and the mask `[H]`.
    pub fn step(&self, x: &[R], h: &[R], mask: Option<&[R]>) -> Vec<R> {
        self.check(x.len(), h.len());
        let Gates { update, candidate, .. } = self.gates(x, &masked(h, mask));
        let one = R::from(1.0);
        (0..h.len()).map(|j| (one - update[j]) * candidate[j] + update[j] * h[j]).collect()
    }

    /// Gradients of x `[I]` and h `[H]` from `d_next` `[H]`, the gradient of the next state. The parameters' gradients
    /// are added to `gradients`, since every step of a sequence contributes to them.
    pub fn step_backward(
        &self,
        x: &[R],
        h: &[R],
        mask: Option<&[R]>,
        d_next: &[R],
        gradients: &mut GruWeights<R>,
    ) -> (Vec<R>, Vec<R>) {
        let (input, hidden) = (x.len(), h.len());
        self.check(input, hidden);
        gradients.check(input, hidden);
        expect_shape("d_next", d_next, &[hidden]);
        let entering = masked(h, mask);
        let Gates { reset, update, candidate, recurrent } = self.gates(x, &entering);
        let one = R::from(1.0);
        let (mut d_x, mut d_entering) = (vec![R::from(0.0); input], vec![R::from(0.0); hidden]);
        for j in 0..hidden {
            let d_update = d_next[j] * (h[j] - candidate[j]) * update[j] * (one - update[j]);
            let d_candidate = d_next[j] * (one - update[j]) * (one - candidate[j] * candidate[j]);
            let d_reset = d_candidate * recurrent[j] * reset[j] * (one - reset[j]);
            // The two sides of a gate share one gradient, except in the candidate, where reset stands in between.
            let gates = [(d_reset, d_reset), (d_update, d_update), (d_candidate, d_candidate * reset[j])];
            for (gate, (d_from_x, d_from_h)) in gates.into_iter().enumerate() {
                let row = gate * hidden + j;
                let (row_x, row_h) = (row * input..(row + 1) * input, row * hidden..(row + 1) * hidden);
                add_scaled(&mut gradients.weight_ih[row_x.clone()], d_from_x, x);
                add_scaled(&mut gradients.weight_hh[row_h.clone()], d_from_h, &entering);
                gradients.bias_ih[row] += d_from_x;
                gradients.bias_hh[row] += d_from_h;
                add_scaled(&mut d_x, d_from_x, &self.weight_ih[row_x]);
                add_scaled(&mut d_entering, d_from_h, &self.weight_hh[row_h]);
            }
        }
        let mut d_h = masked(&d_entering, mask);
        (0..hidden).for_each(|j| d_h[j] += d_next[j] * update[j]);
        (d_x, d_h)
    }
}

/// `mask * h`, or h without one.
pub(super) fn masked<R: Real>(h: &[R], mask: Option<&[R]>) -> Vec<R> {
    mask.map_or_else(|| h.to_vec(), |mask| h.iter().zip(mask).map(|(h, mask)| *h * *mask).collect())
}

/// The inputs of [`Gru`].
#[derive(Clone, Copy, Debug)]
pub struct GruInputs<'a, R = f64> {
    /// `[B, S, I]`.
    pub x: &'a [R],
    /// `[D, B, H]`.
    pub h0: &'a [R],
    /// `[B]`, how many steps of each row are valid.
    pub lengths: &'a [u32],
    /// The parameters of each direction.
    pub weights: &'a [GruWeights<R>],
    /// `[D, B, H]`, what the state is multiplied with where it enters the recurrent product.
    pub mask: Option<&'a [R]>,
}

impl Gru {
    fn check<R: Real>(&self, inputs: &GruInputs<'_, R>) {
        let GruInputs { x, h0, lengths, weights, mask } = *inputs;
        assert!(matches!(self.directions, 1 | 2), "a GRU has 1 or 2 directions, not {}", self.directions);
        assert_eq!(
            weights.len(),
            self.directions,
            "weights of {} directions, expected {}",
            weights.len(),
            self.directions
        );
        expect_shape("x", x, &[self.batch, self.steps, self.input]);
        expect_shape("h0", h0, &[self.directions, self.batch, self.hidden]);
        expect_lengths(lengths, self.batch, self.steps);
        if let Some(mask) = mask {
            expect_shape("mask", mask, &[self.directions, self.batch, self.hidden]);
        }
        for weights in weights {
            weights.check(self.input, self.hidden);
        }
    }

    /// The positions of row `b` in the order in which direction `d` visits them.
    fn order(&self, d: usize, b: usize, lengths: &[u32]) -> Vec<usize> {
        let length = lengths[b] as usize;
        if d == 0 { (0..length).collect() } else { (0..length).rev().collect() }
    }

    fn input_range(&self, b: usize, s: usize) -> std::ops::Range<usize> {
        let start = (b * self.steps + s) * self.input;
        start..start + self.input
    }

    fn output_range(&self, d: usize, b: usize, s: usize) -> std::ops::Range<usize> {
        let start = ((b * self.steps + s) * self.directions + d) * self.hidden;
        start..start + self.hidden
    }

    fn state_range(&self, d: usize, b: usize) -> std::ops::Range<usize> {
        let start = (d * self.batch + b) * self.hidden;
        start..start + self.hidden
    }

    /// The states of all steps and the last ones.
    pub fn forward<R: Real>(&self, inputs: &GruInputs<'_, R>) -> GruOutputs<R> {
        let GruInputs { x, h0, lengths, weights, mask } = *inputs;
        self.check(inputs);
        let mut y = vec![R::from(0.0); self.batch * self.steps * self.directions * self.hidden];
        let mut hn = h0.to_vec();
        for d in 0..self.directions {
            for b in 0..self.batch {
                let state = &mut hn[self.state_range(d, b)];
                let mask = mask.map(|mask| &mask[self.state_range(d, b)]);
                for s in self.order(d, b, lengths) {
                    let next = weights[d].step(&x[self.input_range(b, s)], state, mask);
                    y[self.output_range(d, b, s)].copy_from_slice(&next);
                    state.copy_from_slice(&next);
                }
            }
        }
        GruOutputs { y, hn }
    }

    /// Gradients from `d_y` `[B, S, D*H]` and `d_hn` `[D, B, H]`. What `d_y` holds beyond a row's length has no effect.
    pub fn backward<R: Real>(&self, inputs: &GruInputs<'_, R>, d_y: &[R], d_hn: &[R]) -> GruGradients<R> {
        let GruInputs { x, h0, lengths, weights, mask } = *inputs;
        expect_shape("d_y", d_y, &[self.batch, self.steps, self.directions, self.hidden]);
        expect_shape("d_hn", d_hn, &[self.directions, self.batch, self.hidden]);
        let GruOutputs { y, .. } = self.forward(inputs);
        let mut gradients = GruGradients {
            x: vec![R::from(0.0); x.len()],
            h0: d_hn.to_vec(),
            weights: vec![GruWeights::zeros(self.input, self.hidden); self.directions],
        };
        for d in 0..self.directions {
            for b in 0..self.batch {
                let order = self.order(d, b, lengths);
                let d_state = &mut gradients.h0[self.state_range(d, b)];
                let mask = mask.map(|mask| &mask[self.state_range(d, b)]);
                for (i, &s) in order.iter().enumerate().rev() {
                    add_scaled(d_state, R::from(1.0), &d_y[self.output_range(d, b, s)]);
                    let previous =
                        if i == 0 { &h0[self.state_range(d, b)] } else { &y[self.output_range(d, b, order[i - 1])] };
                    let (d_x, d_previous) = weights[d].step_backward(
                        &x[self.input_range(b, s)],
                        previous,
                        mask,
                        d_state,
                        &mut gradients.weights[d],
                    );
                    add_scaled(&mut gradients.x[self.input_range(b, s)], R::from(1.0), &d_x);
                    d_state.copy_from_slice(&d_previous);
                }
            }
        }
        gradients
    }
}
