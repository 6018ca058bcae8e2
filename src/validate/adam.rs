//! Checks of [`crate::kernels::adam`]. The optimiser has no gradient of its own: its forward row checks the parameters, its
//! backward row the state that the next step starts from.

use super::{Case, KernelChecks, largest, relative_error, widen};
use crate::{
    Result, Tensor,
    kernels::{
        Step,
        adam::{Adam, Buffers, Shared},
    },
    reference::{self, adam::next_scaling},
};

/// The error of one step; the norm is a sum of up to 17,000 squares.
const TOLERANCE: f64 = 1e-6;

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "adam", forward: parameters, backward: Some(state), f32: [TOLERANCE; 2], f16: None }];

/// Parameters, first and second moments, average.
struct Stepped {
    expected: [Vec<f64>; 4],
    norm: f64,
    update: f64,
    /// The norm that the gradients would have if no batch took from another, over the one that they have.
    growth: f64,
    /// The largest first moment, if nothing took from another.
    moment: f64,
    /// The largest value that the average is mixed of.
    mixed: f64,
    found: [Tensor; 4],
    found_norm: Tensor,
    /// The loss scale and its steps, if there is one, as found and as expected.
    scaling: Option<(Tensor, [f64; 2])>,
}

/// A buffer whose learning rate is a share of the step's has that rate of its own.
fn reference_of(adam: &Adam, learning_rate: f32) -> reference::adam::Adam {
    reference::adam::Adam {
        learning_rate: f64::from(learning_rate) * f64::from(adam.rate),
        beta1: adam.beta1,
        beta2: adam.beta2,
        epsilon: f64::from(adam.epsilon),
        clip_norm: adam.clip_norm.map(f64::from),
        weight_decay: f64::from(adam.weight_decay),
    }
}

/// Settings of any kind.
fn settings(case: &mut Case<'_>, elements: usize) -> Adam {
    Adam {
        elements,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        clip_norm: case.coin().then_some(1.0),
        rate: if case.coin() { 1.0 } else { 0.3 },
        weight_decay: if case.coin() { 0.0 } else { 0.1 },
        average_decay: case.coin().then_some(0.999),
    }
}

/// One update, from one batch or from several whose gradients are accumulated.
fn step(case: &mut Case<'_>) -> Result<Stepped> {
    let elements = case.size(129) * case.size(129);
    let longest = if case.coin() { 10 } else { 1_000_000 };
    let number = 1 + case.below(longest) as u32;
    let learning_rate = 0.01_f32;
    let adam = settings(case, elements);
    let batches = if case.coin() { 1 } else { 1 + case.below(3) };
    let accumulate = batches > 1 || case.coin();
    let scale = [1e-3, 1.0, 1e3][case.below(3)];
    let gradients: Vec<_> = (0..batches).map(|_| case.values(elements, scale)).collect();
    let first = case.values(elements, scale);
    let second: Vec<f32> = case.values(elements, scale).iter().map(|x| x * x).collect();
    let parameters = case.values(elements, 0.1);
    let average = case.values(elements, 0.1);
    // A power of two, after as many steps as let it be doubled now or not.
    let scaling = case.coin().then(|| [(1_u32 << case.below(17)) as f32, [0.0, 1998.0, 1999.0][case.below(3)]]);
    let scale = scaling.map_or(1.0, |[scale, _]| scale);
    let found_scaling = scaling.map(|scaling| case.upload([2], &scaling)).transpose()?;
    let upload = |values: &[f32]| case.upload([elements], values);
    let found = [upload(&parameters)?, upload(&first)?, upload(&second)?, upload(&average)?];
    let total = case.poisoned([elements])?;
    let (scratch, found_norm) = (case.poisoned([Adam::SCRATCH])?, case.poisoned([Adam::REPORT])?);
    let step = Step::buffer(case.gpu)?;
    let scaling_tensor = found_scaling.as_ref();
    let shared = Shared { step: &step, loss: None, scaling: scaling_tensor, scratch: &scratch, norm: &found_norm };
    let total_of = |of: fn(f64) -> f64| {
        (0..elements).map(|i| gradients.iter().map(|gradients| of(f64::from(gradients[i]))).sum()).collect::<Vec<f64>>()
    };
    let (sum, absolute) = (total_of(|x| x), total_of(f64::abs));
    for (batch, gradients) in gradients.iter().enumerate() {
        let (batch, batches) = (batch as u32, batches as u32);
        case.gpu.write(&step, &Step { step: number, learning_rate, batch, batches, ..Step::default() }.words())?;
        let [parameters, first, second, average] = &found;
        let buffers = Buffers {
            parameters,
            gradients: &upload(&gradients.iter().map(|gradient| scale * gradient).collect::<Vec<_>>())?,
            total: accumulate.then_some(&total),
            first,
            second,
            average: adam.average_decay.map(|_| average),
        };
        case.run(|recorder| adam.record(recorder, &buffers, &shared))?;
    }
    let reference = reference_of(&adam, learning_rate);
    let (before, first_before) = (widen(&parameters), first.clone());
    let [mut parameters, mut first, mut second, mut average] =
        [before.clone(), widen(&first), widen(&second), widen(&average)];
    let mixed = largest(&average);
    let norm = reference.update(number, &mut parameters, &sum, &mut first, &mut second);
    if let Some(decay) = adam.average_decay {
        reference::adam::average(decay, number, &mut average, &parameters);
    }
    let sum_of_squares = reference::reduction::sum_of_squares;
    let growth = (sum_of_squares(&absolute) / sum_of_squares(&sum)).sqrt();
    let clipped = reference.clip_norm.map_or(1.0, |clip_norm| (clip_norm / norm).min(1.0));
    // Moments and updates without cancellation: no batch's gradients cancel those of the one before, nor the gradient the first
    // moment.
    let (mut update, mut moment) = (0.0_f64, 0.0_f64);
    let decayed = 1.0 - reference.learning_rate * reference.weight_decay;
    for i in 0..elements {
        let kept = adam.beta1 * f64::from(first_before[i].abs());
        let uncancelled = kept + (1.0 - adam.beta1) * clipped * absolute[i];
        let of_square = (1.0 - adam.beta2) * clipped * clipped * absolute[i] * sum[i].abs() / second[i];
        moment = moment.max(uncancelled);
        // The decay is no part of what the moments are off by.
        let moved = (decayed * before[i] - parameters[i]).abs();
        update = update.max(moved * (uncancelled / first[i].abs() + of_square));
    }
    let mixed = mixed.max(largest(&parameters));
    let expected = [parameters, first, second, average];
    let scaling = scaling.map(|scaling| next_scaling(scaling.map(f64::from), true));
    Ok(Stepped {
        expected,
        norm,
        update,
        growth,
        moment,
        mixed,
        found,
        found_norm,
        scaling: found_scaling.zip(scaling),
    })
}

fn parameters(case: &mut Case<'_>) -> Result<f64> {
    let stepped = step(case)?;
    case.error(&stepped.found[0], &stepped.expected[0], stepped.update)
}

fn state(case: &mut Case<'_>) -> Result<f64> {
    let Stepped { expected, norm, update, growth, moment, mixed, found, found_norm, scaling } = step(case)?;
    let scaling = match &scaling {
        Some((found, expected)) => case.error(found, expected, 0.0)?,
        None => 0.0,
    };
    let errors = [
        scaling,
        case.error(&found[1], &expected[1], moment)?,
        case.error(&found[2], &expected[2], growth * largest(&expected[2]))?,
        case.error(&found[3], &expected[3], update.max(mixed))?,
        relative_error(&case.gpu.read::<f32>(&found_norm)?[..2], &[norm, 1.0], growth * norm),
    ];
    Ok(largest(&errors))
}
