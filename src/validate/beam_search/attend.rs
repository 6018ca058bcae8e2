//! Checks of [`Attend`].

use super::super::{Case, widen};
use crate::{
    Result,
    kernels::beam_search::{Attend, Attended, BeamSearch, BeamState},
    reference::beam_search as reference,
};

/// Sums of up to 130 logarithms of sums of up to 3 weights, relative to what they are without cancellation.
pub(super) const TOLERANCE: f64 = 2e-6;

pub(super) fn attend(case: &mut Case<'_>) -> Result<f64> {
    let search = BeamSearch {
        sentences: case.size(5),
        beam: [1, 2, 5][case.below(3)],
        capacity: 4,
        positions: case.coin(),
        ..BeamSearch::default()
    };
    let (rows, keys, members) = (search.rows(), case.size(130), 1 + case.below(3));
    let coverage_penalty = [0.0, 0.2, 1.5][case.below(3)];
    let attend = Attend { search, keys, members, coverage_penalty };
    let (gpu, state) = (case.gpu, BeamState::new(case.gpu, &search)?);
    let lengths: Vec<u32> = case.lengths(search.sentences, keys).iter().map(|length| (*length).max(1)).collect();
    let lengths_gpu = case.upload_u32([search.sentences], &lengths)?;
    let coverage = case.poisoned([2, rows, keys])?;
    let finished: Vec<u32> = (0..rows).map(|_| u32::from(case.below(8) == 0)).collect();
    gpu.write(&state.finished, &finished)?;
    gpu.write(&state.parents, &(0..rows as u32).collect::<Vec<_>>())?;
    let untouched = vec![7.0_f32; rows];
    gpu.write(&state.penalties, &untouched)?;
    let mut pasts: Vec<Vec<Vec<f64>>> = vec![Vec::new(); rows];
    let mut worst = 0.0_f64;
    for step in 0..search.capacity {
        // Weights are shares of about one; many are next to nothing.
        let weights: Vec<f32> = case.values(members * rows * keys, 1.0).iter().map(|x| (x * 2.0 - 3.0).exp()).collect();
        let weights_gpu = case.upload([members, rows, keys], &weights)?;
        let attended = Attended { weights: &weights_gpu, lengths: &lengths_gpu, coverage: &coverage };
        case.run(|recorder| attend.record(recorder, &attended, &state, step))?;
        let penalties: Vec<f32> = gpu.read(&state.penalties)?;
        let positions: Vec<u32> = if search.positions { gpu.read(&state.positions)? } else { Vec::new() };
        let weights = widen(&weights);
        for row in 0..rows {
            if finished[row] == 1 {
                if penalties[row] != untouched[row] {
                    return Ok(f64::INFINITY);
                }
                continue;
            }
            let length = lengths[row / search.beam] as usize;
            let of_member = |member: usize, s: usize| weights[(member * rows + row) * keys + s];
            let mean: Vec<f64> = (0..length)
                .map(|s| (0..members).map(|member| of_member(member, s)).sum::<f64>() / members as f64)
                .collect();
            pasts[row].push(mean.clone());
            let beta = f64::from(coverage_penalty);
            let wanted = reference::Attend { coverage_penalty: beta }.penalty(&pasts[row]);
            worst = worst.max((f64::from(penalties[row]) - wanted).abs() / wanted.abs().max(1.0));
            if search.positions {
                // A mean that f32 cannot tell from the greatest may stand for it.
                let found = positions[step * rows + row] as usize;
                let greatest = mean[reference::Attend::position(&mean)];
                worst = worst.max(mean.get(found).map_or(f64::INFINITY, |mean| (greatest - mean) / greatest));
            }
        }
        // Hypotheses change places within their sentences.
        let parents: Vec<u32> =
            (0..rows).map(|row| (row / search.beam * search.beam + case.below(search.beam)) as u32).collect();
        // A finished row has no past that could be continued.
        let parents: Vec<u32> = parents
            .iter()
            .zip(0..)
            .map(|(from, row)| if finished[*from as usize] == 1 { row } else { *from })
            .collect();
        gpu.write(&state.parents, &parents)?;
        pasts = parents.iter().map(|parent| pasts[*parent as usize].clone()).collect();
    }
    Ok(worst)
}
