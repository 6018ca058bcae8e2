//! Checks of [`BeamSearch::record_texts`].

use super::super::Case;
use crate::{
    Result,
    kernels::beam_search::{BeamSearch, BeamState, Texts},
    reference::beam_search as reference,
};

/// The share of tokens, lengths and places that are others than the reference's.
pub(super) fn texts(case: &mut Case<'_>) -> Result<f64> {
    let search = BeamSearch {
        sentences: case.size(5),
        beam: [1, 2, 5][case.below(3)],
        capacity: case.size(33),
        classes: 40,
        ..BeamSearch::default()
    };
    let (gpu, rows, capacity) = (case.gpu, search.rows(), search.capacity);
    let state = BeamState::new(gpu, &search)?;
    let counted = case.below(capacity + 1);
    let steps = case.below(capacity + 1 - counted);
    let mut draw = |end: usize| -> Vec<u32> { (0..capacity * rows).map(|_| case.below(end) as u32).collect() };
    let (tokens, parents) = (draw(search.classes), draw(rows));
    gpu.write(&state.counter, &[counted as u32])?;
    gpu.write(&state.history_tokens, &tokens)?;
    gpu.write(&state.history_parents, &parents)?;
    let made = [rows * capacity, rows, rows].map(|elements| case.upload_u32([elements], &vec![u32::MAX; elements]));
    let [texts, lengths, last] = made;
    let made = [texts?, lengths?, last?];
    let [texts, lengths, last] = &made;
    case.run(|recorder| search.record_texts(recorder, &state, &Texts { tokens: texts, lengths, last }, steps))?;
    let length = (counted + steps).min(capacity - 1) + 1;
    let specials = search.specials;
    let expected = reference::texts(&tokens, &parents, rows, length, specials.bos);
    let expected = expected.into_iter().flat_map(|mut text| {
        text.resize(capacity, specials.pad);
        text
    });
    let wanted: Vec<u32> = expected.chain(vec![length as u32; rows]).chain(vec![length as u32 - 1; rows]).collect();
    let found: Vec<u32> = made.iter().map(|tensor| gpu.read::<u32>(tensor)).collect::<Result<Vec<_>>>()?.concat();
    Ok(found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).count() as f64 / wanted.len() as f64)
}
