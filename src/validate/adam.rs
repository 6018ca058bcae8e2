//! Checks of [`crate::kernels::adam`]. The optimiser has no gradient of its own: its forward row checks the parameters, its
//! backward row the state that the next step starts from.

use super::{Case, Check, Direction, largest, relative_error, widen};
use crate::{
    Result, Tensor,
    kernels::{Step, adam::Adam},
    reference,
};

/// One step; the norm is a sum of up to 17,000 squares.
const TOLERANCE: f64 = 1e-6;

pub(super) const CHECKS: &[Check] = &[
    Check { kernel: "adam", direction: Direction::Forward, tolerance: TOLERANCE, run: parameters },
    Check { kernel: "adam", direction: Direction::Backward, tolerance: TOLERANCE, run: moments },
];

struct Stepped {
    expected: [Vec<f64>; 3],
    norm: f64,
    update: f64,
    found: [Tensor; 3],
    found_norm: Tensor,
}

fn step(case: &mut Case<'_>) -> Result<Stepped> {
    let elements = case.size(129) * case.size(129);
    let longest = if case.coin() { 10 } else { 1_000_000 };
    let number = 1 + case.below(longest) as u32;
    let clip_norm = case.coin().then_some(1.0);
    let learning_rate = 0.01_f32;
    let weight_decay = if case.coin() { 0.0 } else { 0.1 };
    let adam = Adam { elements, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip_norm, weight_decay };
    let scale = [1e-3, 1.0, 1e3][case.below(3)];
    let gradients = case.values(elements, scale);
    let first = case.values(elements, scale);
    let second: Vec<f32> = case.values(elements, scale).iter().map(|x| x * x).collect();
    let parameters = case.values(elements, 0.1);
    let upload = |values: &[f32]| case.upload([elements], values);
    let found = [upload(&parameters)?, upload(&first)?, upload(&second)?];
    let gradients_gpu = upload(&gradients)?;
    let (scratch, found_norm) = (case.poisoned([adam.scratch()])?, case.poisoned([Adam::REPORT])?);
    let step = Step::buffer(case.gpu)?;
    case.gpu.write(&step, &Step { step: number, learning_rate, ..Step::default() }.words())?;
    case.run(|recorder| {
        let [parameters, first, second] = &found;
        adam.record(recorder, parameters, &gradients_gpu, first, second, &step, None, &scratch, &found_norm)
    })?;
    let reference = reference::adam::Adam {
        learning_rate: f64::from(learning_rate),
        beta1: adam.beta1,
        beta2: adam.beta2,
        epsilon: f64::from(adam.epsilon),
        clip_norm: clip_norm.map(f64::from),
        weight_decay: f64::from(weight_decay),
    };
    let before = widen(&parameters);
    let [mut parameters, mut first, mut second] = [before.clone(), widen(&first), widen(&second)];
    let norm = reference.update(number, &mut parameters, &widen(&gradients), &mut first, &mut second);
    let update = before.iter().zip(&parameters).map(|(before, after)| (before - after).abs()).fold(0.0, f64::max);
    Ok(Stepped { expected: [parameters, first, second], norm, update, found, found_norm })
}

fn parameters(case: &mut Case<'_>) -> Result<f64> {
    let stepped = step(case)?;
    case.error(&stepped.found[0], &stepped.expected[0], stepped.update)
}

fn moments(case: &mut Case<'_>) -> Result<f64> {
    let Stepped { expected, norm, found, found_norm, .. } = step(case)?;
    let errors = [
        case.error(&found[1], &expected[1], 0.0)?,
        case.error(&found[2], &expected[2], 0.0)?,
        relative_error(&case.gpu.read::<f32>(&found_norm)?[..2], &[norm, 1.0], 0.0),
    ];
    Ok(largest(&errors))
}
