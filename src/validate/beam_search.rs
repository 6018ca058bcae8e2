//! Checks of [`crate::kernels::beam_search`]. A search has no gradient: its forward row checks the first step, its backward
//! row, if one may call it so, that several steps in a row lead where the reference leads.

use super::{Case, Check, Direction, widen};
use crate::{
    Result,
    kernels::beam_search::{BeamSearch, BeamState},
    reference::beam_search::{BeamStep, Selection},
};

/// Scores are sums of up to five logarithms of sums of up to 300 exponentials, relative to the largest. A row that chose
/// otherwise than the reference errs by what the choice is worse, and infinitely if a tie was resolved otherwise.
const TOLERANCE: f64 = 2e-6;

pub(super) const CHECKS: &[Check] = &[
    Check { kernel: "beam_search", direction: Direction::Forward, tolerance: TOLERANCE, run: one },
    Check { kernel: "beam_search", direction: Direction::Backward, tolerance: TOLERANCE, run: several },
];

fn one(case: &mut Case<'_>) -> Result<f64> {
    search(case, 1)
}

fn several(case: &mut Case<'_>) -> Result<f64> {
    search(case, 5)
}

fn search(case: &mut Case<'_>, steps: usize) -> Result<f64> {
    let beam = [1, 1, 2, 3, 5, 16][case.below(6)];
    let search = BeamSearch { sentences: case.size(9), beam, classes: 2 + case.size(298), capacity: steps };
    let state = BeamState::new(case.gpu, &search)?;
    let scratch = case.poisoned([search.scratch()])?;
    let step = BeamStep { sentences: search.sentences, beam, classes: search.classes };
    let mut scores: Vec<f64> = (0..search.rows()).map(|row| if row % beam == 0 { 0.0 } else { -1e30 }).collect();
    let mut finished = vec![false; search.rows()];
    let mut worst = 0.0_f64;
    for number in 0..steps {
        // A quarter of the logits repeat the one before them: ties inside a row, where they are exact in any arithmetic.
        let mut logits = case.values(search.rows() * search.classes, 3.0);
        for i in 1..logits.len() {
            if case.below(4) == 0 {
                logits[i] = logits[i - 1];
            }
        }
        let logits_gpu = case.upload([search.rows(), search.classes], &logits)?;
        case.run(|recorder| search.record(recorder, &logits_gpu, &state, &scratch))?;
        let expected = step.select(&widen(&logits), &scores, &finished);
        let found_scores: Vec<f32> = case.gpu.read(&state.scores)?;
        let tokens: Vec<u32> = case.gpu.read(&state.tokens)?;
        let parents: Vec<u32> = case.gpu.read(&state.parents)?;
        let ended: Vec<u32> = case.gpu.read(&state.finished)?;
        let history_tokens: Vec<u32> = case.gpu.read(&state.history_tokens)?;
        let history_parents: Vec<u32> = case.gpu.read(&state.history_parents)?;
        let rows = search.rows();
        let kept = number * rows..(number + 1) * rows;
        let counted = case.gpu.read::<u32>(&state.counter)? == [number as u32 + 1];
        let all_finished = case.gpu.read::<u32>(&state.all_finished)? == [ended.iter().copied().min().unwrap_or(1)];
        let recorded = history_tokens[kept.clone()] == tokens && history_parents[kept] == parents;
        if !(counted && all_finished && recorded) {
            return Ok(f64::INFINITY);
        }
        let largest = expected.iter().map(|e| e.score.abs()).filter(|s| *s < 1e29).fold(1.0, f64::max);
        for (row, Selection { parent, token, score, .. }) in expected.iter().enumerate() {
            let first = (row / beam * beam) as u32;
            let chosen = (parents[row], tokens[row]);
            let sentence = row / beam * beam..(row / beam + 1) * beam;
            let repeated = (sentence.start..row).any(|other| (parents[other], tokens[other]) == chosen);
            let has_ended = matches!(chosen.1, 0 | 2);
            if repeated || !sentence.contains(&(parents[row] as usize)) || (ended[row] == 1) != has_ended {
                return Ok(f64::INFINITY);
            }
            if chosen != (first + parent, *token) {
                // Scores that f32 cannot tell apart may change places; equal ones may not.
                let worth = worth(&search, &logits, &scores, &finished, chosen);
                if worth == *score {
                    return Ok(f64::INFINITY);
                }
                worst = worst.max((worth - score).abs() / largest.max(score.abs()));
            }
            worst = worst.max((f64::from(found_scores[row]) - score).abs() / largest.max(score.abs()));
        }
        // From the device's scores, so that rounding does not add up to another choice.
        scores = widen(&found_scores);
        finished = ended.iter().map(|ended| *ended == 1).collect();
    }
    Ok(worst)
}

/// The score of the continuation of row `parent` by `token`.
fn worth(search: &BeamSearch, logits: &[f32], scores: &[f64], finished: &[bool], (parent, token): (u32, u32)) -> f64 {
    let (parent, token) = (parent as usize, token as usize);
    let score = scores[parent];
    if finished[parent] || score < -1e29 {
        return score;
    }
    if !(2..search.classes).contains(&token) {
        return f64::NEG_INFINITY;
    }
    let logits = widen(&logits[parent * search.classes..][..search.classes]);
    let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let denominator = maximum + logits.iter().map(|x| (x - maximum).exp()).sum::<f64>().ln();
    score + (logits[token] - denominator)
}
