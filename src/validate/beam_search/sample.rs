//! Checks of sampling.

use super::{super::Case, fed::Fed, logits};
use crate::{
    Result,
    kernels::{
        beam_search::{BeamSearch, BeamState, Rule, Sampling, SearchStep},
        matmul::Matrix,
    },
    reference::beam_search as reference,
    validate::widen,
};

/// The most that the drawn token's logit over the temperature plus noise may lie below the greatest, relative to the logits:
/// WGSL's logarithm errs by 5e-7 near 1, and its errors are those of the noise.
pub(super) const TOLERANCE: f64 = 1e-5;

/// The share of the probability by which f32 may misjudge the end of the nucleus.
const MASS: f64 = 1e-5;

pub(super) fn sample(case: &mut Case<'_>) -> Result<f64> {
    let sampling = Sampling {
        temperature: [1.0, 0.7, 3.0, 0.05][case.below(4)],
        top_k: [0, 1, 2, 10, 1000][case.below(5)],
        top_p: [1.0, 0.9, 0.3, 0.01][case.below(4)],
    };
    let search = BeamSearch {
        sentences: case.size(9),
        beam: [1, 2, 5, 64][case.below(4)],
        classes: 2 + case.size(298),
        capacity: 5,
        rule: Rule::Sample(sampling),
        normalised: case.coin(),
        ..BeamSearch::default()
    };
    let (rows, gpu) = (search.rows(), case.gpu);
    let state = BeamState::new(gpu, &search)?;
    let fed = Fed::new(case, &search)?;
    let lengths: Vec<u32> = (0..search.sentences).map(|_| u32::from(case.below(8) > 0)).collect();
    let lengths_gpu = case.upload_u32([search.sentences], &lengths)?;
    let streams: Vec<u32> = (0..search.sentences).map(|_| case.bits()).collect();
    if let Some(tensor) = &state.streams {
        gpu.write(tensor, &streams)?;
    }
    let scratch = case.poisoned([search.scratch()])?;
    case.run(|recorder| search.record_start(recorder, &state, &lengths_gpu, Some(&fed.state0), &fed.feed()))?;
    let mut scores = vec![0.0_f64; rows];
    let mut finished: Vec<u32> = (0..rows).map(|row| u32::from(lengths[row / search.beam] == 0)).collect();
    let (all_rows, mut worst) = ((0..rows).collect::<Vec<_>>(), 0.0_f64);
    for step in 0..3 {
        let logits = logits(case, &search, rows);
        let logits_gpu = case.upload([rows, search.classes], &logits)?;
        let now = SearchStep { logits: Matrix::rows(&logits_gpu), scratch: &scratch, number: step as usize, from: 0 };
        case.run(|recorder| search.record(recorder, &now, &state, &fed.feed()))?;
        let tokens: Vec<u32> = gpu.read(&state.tokens)?;
        let (found, ended): (Vec<f32>, Vec<u32>) = (gpu.read(&state.scores)?, gpu.read(&state.finished)?);
        if !fed.fed(case, &all_rows, &tokens)? {
            return Ok(f64::INFINITY);
        }
        let logits = widen(&logits);
        for (row, logits) in logits.chunks(search.classes).enumerate() {
            let (token, score) = (tokens[row], f64::from(found[row]));
            if finished[row] == 1 {
                if token != 0 || (score - scores[row]).abs() > 0.0 || ended[row] != 1 {
                    return Ok(f64::INFINITY);
                }
                continue;
            }
            let settings = |top_p: f64| reference::Sample {
                temperature: f64::from(sampling.temperature),
                top_k: sampling.top_k,
                top_p: top_p.clamp(1e-9, 1.0),
            };
            let sample = (row % search.beam) as u32;
            let worths = |top_p| settings(top_p).worths(logits, streams[row / search.beam], step, sample);
            let top_p = f64::from(sampling.top_p);
            let (fewer, more) = (worths(top_p - MASS), worths(top_p + MASS));
            let drawn = more.iter().find(|(kept, _)| *kept == token);
            let Some((_, worth)) = drawn else {
                // If all tokens are blocked, the text ends with the lowest score.
                let nowhere = more.is_empty() && token == 2 && score < super::ABSENT;
                if !nowhere {
                    return Ok(f64::INFINITY);
                }
                (scores[row], finished[row]) = (score, 1);
                continue;
            };
            let scale = logits.iter().filter(|x| **x > super::ABSENT).fold(1.0_f64, |scale, x| scale.max(x.abs()));
            let greatest = fewer.iter().map(|(_, worth)| *worth).fold(f64::NEG_INFINITY, f64::max);
            worst = worst.max((greatest - worth) / (scale / f64::from(sampling.temperature)).max(1.0));
            let gain = reference::log_probability(logits, token, search.normalised);
            let wanted = scores[row] + gain;
            worst = worst.max((score - wanted).abs() / wanted.abs().max(1.0));
            if ended[row] != u32::from(token == 2) {
                return Ok(f64::INFINITY);
            }
            (scores[row], finished[row]) = (score, ended[row]);
        }
    }
    Ok(worst)
}
