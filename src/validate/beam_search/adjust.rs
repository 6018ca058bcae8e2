//! Checks of [`Adjust`].

use super::{super::Case, ABSENT};
use crate::{
    Result,
    gpu::Dtype,
    kernels::beam_search::{Adjust, Adjusted, BeamSearch, BeamState, FREE},
    reference::beam_search as reference,
    validate::{largest, widen},
};

/// A logarithm of a sum of up to 4 exponentials of differences of logits and logarithms of sums of up to 300, relative to the
/// largest.
pub(super) const TOLERANCE: f64 = 2e-6;

pub(super) fn adjust(case: &mut Case<'_>) -> Result<f64> {
    let search = BeamSearch {
        sentences: case.size(5),
        beam: [1, 2, 3, 64][case.below(4)],
        classes: 2 + case.size(298),
        capacity: case.size(9),
        normalised: true,
        ..BeamSearch::default()
    };
    let BeamSearch { sentences, beam, classes, capacity, .. } = search;
    let (rows, members) = (search.rows(), [1, 1, 2, 4][case.below(4)]);
    let forbidden = case.coin().then(|| case.below(classes) as u32);
    let adjust = Adjust { search, members, shortest: case.below(5), ngram: case.below(4), forbidden };
    let (state, mut adjusted) = (BeamState::new(case.gpu, &search)?, Adjusted::new(case.gpu, &search)?);
    adjusted.values = case.poisoned([rows, classes])?;
    let step = case.below(capacity);
    let counted = case.below(step + 1);
    // Few distinct tokens, so that texts repeat themselves.
    let alphabet = classes.min(3 + case.below(4));
    let tokens: Vec<u32> = (0..capacity * rows).map(|_| case.below(alphabet) as u32).collect();
    let parents: Vec<u32> =
        (0..capacity * rows).map(|at| (at % rows / beam * beam + case.below(beam)) as u32).collect();
    let prefixes: Vec<u32> = (0..sentences)
        .flat_map(|_| {
            let length = if case.coin() { 0 } else { case.below(capacity + 1) };
            (0..capacity).map(|at| if at < length { case.below(classes) as u32 } else { FREE }).collect::<Vec<_>>()
        })
        .collect();
    let idle: Vec<usize> = (0..rows).map(|_| case.below(8)).collect();
    let scores: Vec<f32> = idle.iter().map(|idle| if *idle == 0 { -1e30 } else { -1.5 }).collect();
    let finished: Vec<u32> = idle.iter().map(|idle| u32::from(*idle == 1)).collect();
    let gpu = case.gpu;
    gpu.write(&state.history_tokens, &tokens)?;
    gpu.write(&state.history_parents, &parents)?;
    gpu.write(&state.counter, &[counted as u32])?;
    gpu.write(&state.scores, &scores)?;
    gpu.write(&state.finished, &finished)?;
    gpu.write(&adjusted.prefixes, &prefixes)?;
    let logits = case.values(members * rows * classes, 3.0);
    let logits_gpu = gpu.tensor("logits", [members, rows, classes], Dtype::F32, &logits)?;
    case.run(|recorder| adjust.record(recorder, &logits_gpu, &state, &adjusted, step - counted))?;
    let found: Vec<f32> = gpu.read(&adjusted.values)?;
    let logits = widen(&logits);
    let step_of_one = reference::Adjust { classes, shortest: adjust.shortest, ngram: adjust.ngram, forbidden };
    let mut worst = 0.0_f64;
    for (row, found) in found.chunks(classes).enumerate() {
        if idle[row] < 2 {
            if found.iter().any(|value| !value.is_nan()) {
                return Ok(f64::INFINITY);
            }
            continue;
        }
        let (mut at, mut text) = (row, Vec::new());
        for step in (0..step).rev() {
            text.push(tokens[step * rows + at]);
            at = parents[step * rows + at] as usize;
        }
        text.reverse();
        let of_row: Vec<&[f64]> =
            (0..members).map(|member| &logits[(member * rows + row) * classes..][..classes]).collect();
        let forced = Some(prefixes[row / beam * capacity + step]).filter(|token| *token != FREE);
        let wanted = step_of_one.forward(&of_row, &text, forced);
        let open: Vec<f64> = wanted.iter().copied().filter(|value| *value > ABSENT).collect();
        for (found, wanted) in found.iter().zip(&wanted) {
            let found = f64::from(*found);
            if (found < ABSENT) != (*wanted < ABSENT) || !found.is_finite() {
                return Ok(f64::INFINITY);
            }
            if found > ABSENT {
                worst = worst.max((found - wanted).abs() / largest(&open).max(1.0));
            }
        }
    }
    Ok(worst)
}
