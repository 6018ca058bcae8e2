//! Checks of [`crate::kernels::local_attention`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result, Tensor,
    kernels::local_attention::{Gradients, Inputs, LocalAttention, Outputs, Window},
    reference::local_attention as reference,
};

/// Sums of up to 150 exponentials of differences up to 60, whose rounding error exp multiplies.
const FORWARD: f64 = 3e-6;
/// The same weights, and a Gaussian's exponent besides: the slope of a centre is a sum of as many terms of either sign.
const BACKWARD: f64 = 3e-6;
/// The error of one store in f16. Weights stay f32.
const HALF_BACKWARD: f64 = BACKWARD + ROUNDING;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "local_attention",
    forward,
    backward: Some(backward),
    f32: [FORWARD, BACKWARD],
    f16: Some([FORWARD, HALF_BACKWARD]),
}];

struct Drawn {
    operation: LocalAttention,
    reference: reference::LocalAttention,
    scores: Vec<f32>,
    shares: Option<Vec<f32>>,
    lengths: Vec<u32>,
    counter: Option<Tensor>,
    scores_gpu: Tensor,
    shares_gpu: Option<Tensor>,
    lengths_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let (batch, queries, keys) = (1 + case.below(3), case.size(33), case.size(150));
        // Scores by location may be fewer or more than there are positions.
        let columns = if case.coin() { keys } else { case.size(150) };
        let lengths = case.lengths(batch, keys);
        let half_width = [0.5, 1.0, 2.0, 5.0, 10.0, 200.0][case.below(6)];
        let wide = f64::from(half_width);
        let counted = case.below(200);
        let (window, of_reference) = match case.below(4) {
            0 => (Window::Global, reference::Window::Global),
            1 => {
                let first = case.below(3) * case.below(200);
                let of_reference = reference::Window::Monotonic { half_width: wide, first };
                (Window::Monotonic { half_width, first }, of_reference)
            }
            2 => {
                let step = case.below(20);
                let of_reference = reference::Window::Counted { half_width: wide, step: step + counted };
                (Window::Counted { half_width, step }, of_reference)
            }
            _ => (Window::Predicted { half_width }, reference::Window::Predicted { half_width: wide }),
        };
        let is_predicted = matches!(window, Window::Predicted { .. });
        let shares = is_predicted.then(|| shares(case, &lengths, queries));
        let scores = case.values(batch * queries * columns, 3.0);
        // Masked scores are NaN on the device.
        let valid = |i: usize| i % columns < lengths[i / columns / queries] as usize;
        let poisoned: Vec<_> = scores.iter().enumerate().map(|(i, x)| if valid(i) { *x } else { f32::NAN }).collect();
        let scores_gpu = case.upload_activation([batch, queries, columns], &poisoned)?;
        let shares_gpu = shares.as_ref().map(|shares| case.upload_activation([batch, queries], shares)).transpose()?;
        let lengths_gpu = case.upload_u32([batch], &lengths)?;
        let counter = matches!(window, Window::Counted { .. }).then(|| case.upload_u32([1], &[counted as u32]));
        Ok(Self {
            counter: counter.transpose()?,
            operation: LocalAttention { batch, queries, keys, columns, window },
            reference: reference::LocalAttention { batch, queries, keys, columns, window: of_reference },
            scores,
            shares,
            lengths,
            scores_gpu,
            shares_gpu,
            lengths_gpu,
        })
    }

    fn inputs(&self) -> Inputs<'_> {
        let (shares, counter) = (self.shares_gpu.as_ref(), self.counter.as_ref());
        Inputs { scores: &self.scores_gpu, shares, counter, lengths: &self.lengths_gpu }
    }

    /// Weights and centres, full of NaN.
    fn outputs(&self, case: &Case<'_>) -> Result<(Tensor, Option<Tensor>)> {
        let LocalAttention { batch, queries, keys, window, .. } = self.operation;
        let centres = (window != Window::Global).then(|| case.poisoned([batch, queries])).transpose()?;
        Ok((case.poisoned([batch, queries, keys])?, centres))
    }

    /// The scale of a `weight`'s error where a predicted centre is rounded, which each of so many Gaussians multiplies by up to 4 / D.
    fn scale(&self, weight: f64, gaussians: f64) -> f64 {
        const UNIT: f64 = 1.0 / (1 << 24) as f64;
        let LocalAttention { keys, window, .. } = self.operation;
        match window {
            Window::Predicted { half_width } => {
                weight * (1.0 + gaussians * 4.0 / f64::from(half_width) * keys as f64 * UNIT / FORWARD)
            }
            _ => weight,
        }
    }

    /// The largest sum of absolute terms of a share's gradient, whose terms are of either sign on the two sides of the centre.
    fn largest_share_gradient(&self, weights: &[f64], centres: &[f64], d_weights: &[f64]) -> f64 {
        let LocalAttention { queries, keys, window: Window::Predicted { half_width }, .. } = self.operation else {
            return 0.0;
        };
        let terms = weights.chunks(keys).zip(d_weights.chunks(keys)).zip(centres).enumerate();
        let sums = terms.map(|(row, ((weights, d_weights), centre))| {
            let distances =
                weights.iter().zip(d_weights).enumerate().map(|(s, (w, d))| (w * d * (s as f64 - centre)).abs());
            distances.sum::<f64>() * 4.0 / f64::from(half_width).powi(2) * f64::from(self.lengths[row / queries])
        });
        sums.fold(0.0, f64::max)
    }

    /// Scores and shares, as the reference takes them.
    fn widened(&self) -> (Vec<f64>, Vec<f64>) {
        (widen(&self.scores), widen(self.shares.as_deref().unwrap_or_default()))
    }
}

/// Shares whose centres lie where rounding moves no position into the window or out of it: all half-widths are multiples of one half.
fn shares(case: &mut Case<'_>, lengths: &[u32], queries: usize) -> Vec<f32> {
    let mut drawn = |length: u32| {
        let share = case.below(1000) as f32 / 1000.0;
        let share = case.rounded(vec![share])[0];
        let halves = 2.0 * share * length as f32;
        ((halves - halves.round()).abs() > 1e-3).then_some(share)
    };
    let mut one = |length: u32| (0..100).find_map(|_| drawn(length)).unwrap_or(0.0);
    lengths.iter().flat_map(|length| (0..queries).map(|_| *length).collect::<Vec<_>>()).map(&mut one).collect()
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let (weights, centres) = drawn.outputs(case)?;
    let outputs = Outputs { weights: &weights, centres: centres.as_ref() };
    case.run(|recorder| drawn.operation.record(recorder, &drawn.inputs(), &outputs))?;
    let (scores, shares) = drawn.widened();
    let (expected, expected_centres) = drawn.reference.forward(&scores, &shares, &drawn.lengths);
    let error = case.error(&weights, &expected, drawn.scale(largest(&expected), 1.0))?;
    match &centres {
        Some(centres) => Ok(error.max(case.error(centres, &expected_centres, 0.0)?)),
        None => Ok(error),
    }
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let LocalAttention { batch, queries, keys, columns, .. } = drawn.operation;
    let (weights, centres) = drawn.outputs(case)?;
    let outputs = Outputs { weights: &weights, centres: centres.as_ref() };
    let (scores, shares) = drawn.widened();
    let (expected_weights, expected_centres) = drawn.reference.forward(&scores, &shares, &drawn.lengths);
    let d_weights = case.values(batch * queries * keys, 1.0);
    // Gradients of weights of 0 are NaN on the device.
    let poisoned =
        d_weights.iter().zip(&expected_weights).map(|(d, weight)| if *weight == 0.0 { f32::NAN } else { *d });
    let d_weights_gpu = case.upload([batch, queries, keys], &poisoned.collect::<Vec<_>>())?;
    let d_scores = case.poisoned_activation([batch, queries, columns])?;
    let d_shares = drawn.shares.as_ref().map(|_| case.poisoned_activation([batch, queries])).transpose()?;
    let gradients = Gradients { scores: &d_scores, shares: d_shares.as_ref() };
    case.run(|recorder| {
        drawn.operation.record(recorder, &drawn.inputs(), &outputs)?;
        drawn.operation.record_backward(recorder, &drawn.lengths_gpu, &outputs, &d_weights_gpu, &gradients)
    })?;
    let d_weights = widen(&d_weights);
    let (of_scores, of_shares) = drawn.reference.backward(&scores, &shares, &drawn.lengths, &d_weights);
    // A Gaussian is in a score's own weight, and in the sum over the weights that is taken from it.
    let product = largest(&expected_weights) * largest(&d_weights);
    let of_share = drawn.largest_share_gradient(&expected_weights, &expected_centres, &d_weights);
    let error = case.error(&d_scores, &of_scores, drawn.scale(product, 2.0))?;
    match &d_shares {
        Some(d_shares) => Ok(error.max(case.error(d_shares, &of_shares, drawn.scale(of_share, 2.0))?)),
        None => Ok(error),
    }
}
