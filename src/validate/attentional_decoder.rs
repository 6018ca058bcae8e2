//! Checks of [`crate::kernels::attentional_decoder`].

use super::{
    Case, Check, Direction,
    gru::{as_weights, cell_error, cell_values, poisoned_cell, upload_cell, widen_cell},
    largest, widen,
};
use crate::{
    Result, Tensor,
    kernels::attentional_decoder::{AttentionalDecoder, Gradients, Inputs, Saved, Tiles},
    reference::{attentional_decoder as reference, gru::GruWeights},
};

/// Sums of up to 66 products in the gates and of 33 terms in the scores, through up to 7 steps that feed each other.
const FORWARD: f64 = 5e-6;
/// The same again backward, and sums over up to 7 * 17 steps and rows.
const BACKWARD: f64 = 2e-5;

pub(super) const CHECKS: &[Check] = &[
    Check { kernel: "attentional_decoder", direction: Direction::Forward, tolerance: FORWARD, run: forward },
    Check { kernel: "attentional_decoder", direction: Direction::Backward, tolerance: BACKWARD, run: backward },
];

/// A drawn case: values for the reference, tensors for the kernel.
struct Drawn {
    decoder: AttentionalDecoder,
    words: Vec<f32>,
    state0: Vec<f32>,
    key: Vec<f32>,
    annotation: Vec<f32>,
    lengths: Vec<u32>,
    query_weight: Vec<f32>,
    energy: Vec<f32>,
    cell: GruWeights,
    words_gpu: Tensor,
    state0_gpu: Tensor,
    key_gpu: Tensor,
    annotation_gpu: Tensor,
    lengths_gpu: Tensor,
    query_weight_gpu: Tensor,
    energy_gpu: Tensor,
    cell_gpu: [Tensor; 4],
    features: Tensor,
    weights: Tensor,
    states: Tensor,
    gates: Tensor,
    queries: Tensor,
    scratch: Tensor,
}

/// Sizes, values and tensors; keys and annotations behind a row's length are NaN.
fn draw(case: &mut Case<'_>) -> Result<Drawn> {
    // Every other case takes the forms for 16-byte loads in all kernels of the loop.
    let vector = case.coin();
    let mut size = |most: usize| if vector { 4 * case.size(most / 4) } else { case.size(most) };
    let (word, hidden, alignment, annotation) = (size(33), size(33), size(33), size(33));
    let steps = if case.below(3) == 0 { 1 } else { case.size(7) };
    let decoder = AttentionalDecoder {
        batch: case.size(17),
        steps,
        keys: case.size(37),
        word,
        hidden,
        size: alignment,
        annotation,
    };
    let AttentionalDecoder { batch, keys, size, .. } = decoder;
    let words = case.values(batch * steps * word, 1.0);
    let state0 = case.values(batch * hidden, 0.5);
    let mut key = case.values(batch * keys * size, 1.0);
    let mut values = case.values(batch * keys * annotation, 0.5);
    let lengths: Vec<u32> =
        case.lengths(batch, keys).into_iter().map(|length| if case.below(6) == 0 { 1 } else { length }).collect();
    for (b, length) in lengths.iter().enumerate() {
        let valid = b * keys + *length as usize;
        key[valid * size..(b + 1) * keys * size].fill(f32::NAN);
        values[valid * annotation..(b + 1) * keys * annotation].fill(f32::NAN);
    }
    let query_weight = case.values(size * hidden, 1.0 / (hidden as f32).sqrt());
    let energy = case.values(size, 1.0 / (size as f32).sqrt());
    let cell = cell_values(case, word + annotation, hidden);
    Ok(Drawn {
        words_gpu: case.upload([batch, steps, word], &words)?,
        state0_gpu: case.upload([batch, hidden], &state0)?,
        key_gpu: case.upload([batch, keys, size], &key)?,
        annotation_gpu: case.upload([batch, keys, annotation], &values)?,
        lengths_gpu: case.upload_u32([batch], &lengths)?,
        query_weight_gpu: case.upload([size, hidden], &query_weight)?,
        energy_gpu: case.upload([size], &energy)?,
        cell_gpu: upload_cell(case, word + annotation, hidden, &cell)?,
        features: case.poisoned([batch, steps, decoder.features()])?,
        weights: case.poisoned([batch, steps, keys])?,
        states: case.poisoned(decoder.states_shape())?,
        gates: case.poisoned(decoder.gates_shape())?,
        queries: case.poisoned(decoder.queries_shape())?,
        scratch: case.poisoned([decoder.scratch()])?,
        cell: widen_cell(&cell),
        decoder,
        words,
        state0,
        key,
        annotation: values,
        lengths,
        query_weight,
        energy,
    })
}

impl Drawn {
    fn with_reference<T>(&self, f: impl FnOnce(reference::AttentionalDecoder, &reference::DecoderInputs) -> T) -> T {
        let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation } = self.decoder;
        let values = [&self.words, &self.state0, &self.key, &self.annotation, &self.query_weight, &self.energy];
        let [words, state0, key, values, query_weight, energy] = values.map(|values| widen(values));
        let inputs = reference::DecoderInputs {
            words: &words,
            state0: &state0,
            key: &key,
            annotation: &values,
            lengths: &self.lengths,
            query_weight: &query_weight,
            energy: &energy,
            cell: &self.cell,
        };
        f(reference::AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation }, &inputs)
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            words: &self.words_gpu,
            state0: &self.state0_gpu,
            key: &self.key_gpu,
            annotation: &self.annotation_gpu,
            lengths: &self.lengths_gpu,
            query_weight: &self.query_weight_gpu,
            energy: &self.energy_gpu,
            cell: as_weights(&self.cell_gpu),
        }
    }

    fn saved(&self) -> Saved<'_> {
        Saved { states: &self.states, gates: &self.gates, queries: &self.queries }
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    case.run(|recorder| {
        let tiles = Tiles::choose(recorder.gpu(), &drawn.decoder);
        let (inputs, saved) = (drawn.inputs(), drawn.saved());
        drawn.decoder.record(recorder, &tiles, &inputs, &drawn.features, &drawn.weights, &saved, &drawn.scratch)
    })?;
    let expected = drawn.with_reference(|reference, inputs| reference.forward(inputs));
    let errors =
        [case.error(&drawn.features, &expected.features, 1.0)?, case.error(&drawn.weights, &expected.weights, 1.0)?];
    Ok(largest(&errors))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation } = drawn.decoder;
    let d_features = case.values(drawn.features.elements(), 0.1);
    let d_weights = case.coin().then(|| case.values(drawn.weights.elements(), 0.1));
    let d_features_gpu = case.upload([batch, steps, drawn.decoder.features()], &d_features)?;
    let d_weights_gpu = match &d_weights {
        Some(d_weights) => Some(case.upload([batch, steps, keys], d_weights)?),
        None => None,
    };
    let mut scratch = Vec::new();
    for elements in drawn.decoder.backward_scratch() {
        scratch.push(case.poisoned([elements])?);
    }
    let scratch = scratch.try_into().expect("as many tensors as sizes");
    let (d_words, d_state0) = (case.poisoned([batch, steps, word])?, case.poisoned([batch, hidden])?);
    let (d_key, d_annotation) = (case.poisoned([batch, keys, size])?, case.poisoned([batch, keys, annotation])?);
    let (d_query_weight, d_energy) = (case.poisoned([size, hidden])?, case.poisoned([size])?);
    let d_cell = poisoned_cell(case, word + annotation, hidden)?;
    case.run(|recorder| {
        let tiles = Tiles::choose(recorder.gpu(), &drawn.decoder);
        let (inputs, saved) = (drawn.inputs(), drawn.saved());
        drawn.decoder.record(recorder, &tiles, &inputs, &drawn.features, &drawn.weights, &saved, &drawn.scratch)?;
        let gradients = Gradients {
            words: &d_words,
            state0: &d_state0,
            key: &d_key,
            annotation: &d_annotation,
            query_weight: &d_query_weight,
            energy: &d_energy,
            cell: as_weights(&d_cell),
        };
        drawn.decoder.record_backward(
            recorder,
            &tiles,
            &inputs,
            &saved,
            &drawn.features,
            &drawn.weights,
            &d_features_gpu,
            d_weights_gpu.as_ref(),
            &scratch,
            &gradients,
        )
    })?;
    let d_weights = d_weights.as_deref().map(widen);
    let expected =
        drawn.with_reference(|reference, inputs| reference.backward(inputs, &widen(&d_features), d_weights.as_deref()));
    // What reaches a score is a difference of terms that are as large as what reaches the states and contexts.
    let scale = largest(&expected.words).max(largest(&expected.annotation)).max(0.1);
    let errors = [
        case.error(&d_words, &expected.words, 0.0)?,
        case.error(&d_state0, &expected.state0, scale)?,
        case.error(&d_key, &expected.key, scale)?,
        case.error(&d_annotation, &expected.annotation, scale)?,
        case.error(&d_query_weight, &expected.query_weight, scale)?,
        case.error(&d_energy, &expected.energy, scale)?,
        cell_error(case, &d_cell, &expected.cell)?,
    ];
    Ok(largest(&errors))
}
