//! Checks of [`crate::kernels::additive_score`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result, Tensor,
    kernels::additive_score::{AdditiveScore, Gradients, Inputs},
    reference::additive_score as reference,
};

/// Scores are f32 under f16 too. Up to 130 terms that err by 3e-7 each, in up to 66 additions one after the other, which err by
/// 5e-7 (the root of 66 times half a unit in the last place). The scale is the sum of absolute terms, so cancellation does not count.
const FORWARD: f64 = 1e-6;

/// Sums over up to 150 keys or 65 queries, for the energy vector over both and the batch, in blocks. Their terms err by 6e-7 each: the
/// derivative of tanh has both exponentials as factors. The scale is as forward.
const BACKWARD: f64 = 2e-6;

/// Inputs thirty times as large, with outliers of 1e4: all derivatives may lie in the tail of tanh, where they err as the exponential
/// does, in WGSL by up to 3 + 2 |x| units in the last place, for x up to 40.
const BACKWARD_EXTREME: f64 = 1e-5;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "additive_score",
        forward,
        backward: Some(backward),
        f32: [FORWARD, BACKWARD],
        f16: Some([FORWARD, BACKWARD + ROUNDING]),
    },
    KernelChecks {
        kernel: "additive_score_extreme",
        forward: forward_extreme,
        backward: Some(backward_extreme),
        f32: [FORWARD, BACKWARD_EXTREME],
        f16: Some([FORWARD, BACKWARD_EXTREME + ROUNDING]),
    },
];

fn forward(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, 1.0)?.forward(case)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, 1.0)?.backward(case)
}

fn forward_extreme(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, 30.0)?.forward(case)
}

fn backward_extreme(case: &mut Case<'_>) -> Result<f64> {
    Problem::draw(case, 30.0)?.backward(case)
}

struct Problem {
    shape: AdditiveScore,
    query: Vec<f32>,
    key: Vec<f32>,
    energy: Vec<f32>,
    lengths: Vec<u32>,
    /// Query, key, energy vector, lengths.
    tensors: [Tensor; 4],
}

impl Problem {
    fn draw(case: &mut Case<'_>, scale: f32) -> Result<Self> {
        let queries = if case.below(3) == 0 { 1 } else { case.size(65) };
        // Every other case takes the form for 16-byte loads.
        let size = if case.coin() { case.size(130) } else { 4 * case.size(32) };
        let (batch, keys) = (1 + case.below(3), case.size(150));
        let mut query = case.values(batch * queries * size, scale);
        let mut key = case.values(batch * keys * size, scale);
        if scale > 1.0 {
            for values in [&mut query, &mut key] {
                let at = case.below(values.len());
                values[at] = if case.coin() { 1e4 } else { -1e4 };
            }
        }
        let energy = case.values(size, 1.0 / (size as f32).sqrt());
        let lengths = case.lengths(batch, keys);
        // Masked keys are NaN on the device.
        let valid = |i: usize| i / size % keys < lengths[i / size / keys] as usize;
        let poisoned: Vec<_> = key.iter().enumerate().map(|(i, x)| if valid(i) { *x } else { f32::NAN }).collect();
        let tensors = [
            case.upload_activation([batch, queries, size], &query)?,
            case.upload_activation([batch, keys, size], &poisoned)?,
            case.upload([size], &energy)?,
            case.upload_u32([batch], &lengths)?,
        ];
        Ok(Self { shape: AdditiveScore { batch, queries, keys, size }, query, key, energy, lengths, tensors })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, energy, lengths] = &self.tensors;
        Inputs { query, key, energy, lengths }
    }

    fn with_reference<T>(&self, f: impl FnOnce(reference::AdditiveScore, &reference::ScoreInputs<'_>) -> T) -> T {
        let AdditiveScore { batch, queries, keys, size } = self.shape;
        let [query, key, energy] = [&self.query, &self.key, &self.energy].map(|values| widen(values));
        let inputs = reference::ScoreInputs { query: &query, key: &key, energy: &energy, lengths: &self.lengths };
        f(reference::AdditiveScore { batch, queries, keys, size }, &inputs)
    }

    /// The sum of the energy vector's absolute values, which bounds a score.
    fn energies(&self) -> f64 {
        self.energy.iter().map(|energy| f64::from(energy.abs())).sum()
    }

    /// The largest sums of absolute terms of the gradients of query, key and energy vector, whose tanh is at most 1.
    fn without_cancellation(&self, d_scores: &[f32]) -> [f64; 3] {
        let AdditiveScore { queries, keys, .. } = self.shape;
        let valid = |i: usize| i % keys < self.lengths[i / keys / queries] as usize;
        let absolute = |values: &[f32]| -> Vec<f64> { values.iter().map(|value| f64::from(value.abs())).collect() };
        let (energy, d_scores) = (absolute(&self.energy), absolute(d_scores));
        let sums = self.with_reference(|reference, inputs| {
            reference.backward(&reference::ScoreInputs { energy: &energy, ..*inputs }, &d_scores)
        });
        let of_energy = d_scores.iter().enumerate().filter(|(i, _)| valid(*i)).map(|(_, d)| d).sum();
        [largest(&sums.query), largest(&sums.key), of_energy]
    }

    fn forward(&self, case: &mut Case<'_>) -> Result<f64> {
        let AdditiveScore { batch, queries, keys, .. } = self.shape;
        let scores = case.poisoned([batch, queries, keys])?;
        case.run(|recorder| self.shape.record(recorder, &self.inputs(), &scores))?;
        // The terms are of either sign, and cancel.
        case.error(&scores, &self.with_reference(|reference, inputs| reference.forward(inputs)), self.energies())
    }

    fn backward(&self, case: &mut Case<'_>) -> Result<f64> {
        let AdditiveScore { batch, queries, keys, size } = self.shape;
        let mut d_scores = case.values(batch * queries * keys, 1.0);
        let expected = self.with_reference(|reference, inputs| reference.backward(inputs, &widen(&d_scores)));
        let scales = self.without_cancellation(&d_scores);
        for (row, d_scores) in d_scores.chunks_mut(keys).enumerate() {
            d_scores[self.lengths[row / queries] as usize..].fill(f32::NAN);
        }
        let d_scores = case.upload([batch, queries, keys], &d_scores)?;
        let scratch = case.poisoned([self.shape.scratch()])?;
        let (query, key) =
            (case.poisoned_activation([batch, queries, size])?, case.poisoned_activation([batch, keys, size])?);
        let energy = case.poisoned([size])?;
        let gradients = Gradients { query: &query, key: &key, energy: &energy };
        case.run(|recorder| self.shape.record_backward(recorder, &self.inputs(), &d_scores, &scratch, &gradients))?;
        let errors = [
            case.error(&query, &expected.query, scales[0])?,
            case.error(&key, &expected.key, scales[1])?,
            case.error(&energy, &expected.energy, scales[2])?,
        ];
        Ok(errors.into_iter().fold(0.0, f64::max))
    }
}
