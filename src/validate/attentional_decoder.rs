//! Checks of [`crate::kernels::attentional_decoder`].

mod step;

use super::{
    Case, KernelChecks, ROUNDING,
    gru::{Mask, Named, as_weights, cell_error, cell_values, exact_cell, poisoned_cell, upload_cell},
    largest,
    rounded::{Rounded, exact},
};
use crate::{
    Error, Result, Tensor,
    gpu::{Recorder, product},
    kernels::{
        attentional_decoder::{AttentionalDecoder, Backward, Gradients, Inputs, Outputs, Tiles},
        gru::Input,
    },
    reference::attentional_decoder as reference,
};

/// A softmax over scores of up to 65 terms and sums of up to 98 products, through up to 7 steps.
const FORWARD: f64 = 5e-6;
/// The same again backward, and sums over up to 7 * 33 steps and rows.
const BACKWARD: f64 = 1e-5;
/// The errors of the GRU, for up to 7 steps. Backward, each step stores the gradient of its context too, adds to it and stores
/// it again.
/// The worst of 3,000 cases on lavapipe are 1.2e-3 and 9.5e-3.
const HALF: [f64; 2] = [FORWARD + 4.0 * ROUNDING, BACKWARD + 16.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "attentional_decoder",
        forward,
        backward: Some(backward),
        f32: [FORWARD, BACKWARD],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "attentional_decoder_step",
        forward: step::step,
        backward: None,
        f32: [FORWARD; 2],
        f16: None,
    },
];

/// A drawn case: values for the reference, tensors for the kernel.
struct Drawn {
    decoder: AttentionalDecoder,
    lengths: Vec<u32>,
    /// Words, state0, key, annotation, query weight, energy.
    values: [Vec<f32>; 6],
    cell: [Vec<f32>; 4],
    named: Option<Named>,
    mask: Option<Mask>,
    values_gpu: [Tensor; 6],
    lengths_gpu: Tensor,
    cell_gpu: [Tensor; 4],
    features: Tensor,
    weights: Tensor,
    saved: [Tensor; 4],
    scratch: Vec<Tensor>,
}

/// Sizes, values and tensors; keys past a row's length are NaN, and annotations, or 0. Half of the cases name words of a table,
/// half have a mask on the states.
fn draw(case: &mut Case<'_>) -> Result<Drawn> {
    // Half of the cases take 16-byte loads.
    let unit = if case.coin() { 4 } else { 1 };
    let mut width = |most: usize| case.size(most / unit) * unit;
    let (word, hidden, size, annotation) = (width(33), width(33), width(65), width(65));
    let (batch, steps, keys) = (case.size(33), case.size(7), case.size(33));
    let [masked, zeroed] = [case.coin(), case.coin()];
    let decoder = AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation, masked, zeroed };
    let mask = if masked { Some(Mask::draw(case, &[batch, hidden])?) } else { None };
    let lengths = case.lengths(batch, keys);
    let (named, words) = if case.coin() {
        let (named, words) = Named::draw(case, batch * steps, word, 3 * hidden)?;
        (Some(named), words)
    } else {
        (None, case.values(batch * steps * word, 1.0))
    };
    let values = [
        words,
        case.values(batch * hidden, 0.5),
        case.values(batch * keys * size, 1.0),
        case.values(batch * keys * annotation, 1.0),
        case.values(size * hidden, 1.0 / (hidden as f32).sqrt()),
        case.values(size, 1.0 / (size as f32).sqrt()),
    ];
    let padded = |values: &[f32], width: usize, padding: f32| -> Vec<f32> {
        let rows = values.chunks(width).enumerate();
        let valid = |row: usize| row % keys < lengths[row / keys] as usize;
        rows.flat_map(|(row, x)| x.iter().map(move |x| if valid(row) { *x } else { padding })).collect()
    };
    let of_annotation = if zeroed { 0.0 } else { f32::NAN };
    let (key, values_padded) = (padded(&values[2], size, f32::NAN), padded(&values[3], annotation, of_annotation));
    let cell = cell_values(case, word + annotation, hidden);
    // The first state may lie where the states begin.
    let mut states = vec![f32::NAN; product(&decoder.states_shape())];
    states[..batch * hidden].copy_from_slice(&values[1]);
    let states = case.upload_activation(decoder.states_shape(), &states)?;
    let first = [batch, hidden];
    let state0 = match case.coin() {
        true => states.part(0, first, case.dtype)?,
        false => case.upload_activation(first, &values[1])?,
    };
    Ok(Drawn {
        values_gpu: [
            case.upload_activation([batch, steps, word], &values[0])?,
            state0,
            case.upload_activation([batch, keys, size], &key)?,
            case.upload_activation([batch, keys, annotation], &values_padded)?,
            case.upload([size, hidden], &values[4])?,
            case.upload([size], &values[5])?,
        ],
        lengths_gpu: case.upload_u32([batch], &lengths)?,
        cell_gpu: upload_cell(case, word + annotation, hidden, &cell)?,
        features: case.poisoned_activation([batch, steps, decoder.features()])?,
        weights: case.poisoned([batch, steps, keys])?,
        saved: [
            states,
            case.poisoned_activation(decoder.gates_shape())?,
            case.poisoned_activation(decoder.contributions_shape())?,
            case.poisoned(decoder.stacked_shape())?,
        ],
        scratch: decoder.scratch(case.dtype).map(|scratch| case.scratch(scratch)).into_iter().collect::<Result<_>>()?,
        decoder,
        named,
        mask,
        lengths,
        values,
        cell,
    })
}

fn all_of<const N: usize>(scratch: &[Tensor]) -> Result<&[Tensor; N]> {
    scratch.first_chunk().ok_or_else(|| Error::data("validate", "less scratch than was asked for"))
}

impl Drawn {
    fn inputs(&self) -> Inputs<'_> {
        let [words, state0, key, annotation, query_weight, energy] = &self.values_gpu;
        let cell = as_weights(&self.cell_gpu);
        let words = self.named.as_ref().map_or(Input::Rows(words), |named| Input::Tokens(named.tokens()));
        let (lengths, mask) = (&self.lengths_gpu, Mask::gpu(self.mask.as_ref()));
        Inputs { words, state0, key, annotation, lengths, query_weight, energy, cell, mask }
    }

    fn outputs(&self) -> Outputs<'_> {
        let Self { features, weights, saved: [states, gates, contributions, stacked], .. } = self;
        Outputs { features, weights, states, gates, contributions, stacked }
    }

    fn record(&self, recorder: &mut Recorder, tiles: &Tiles) -> Result<()> {
        self.decoder.record(recorder, tiles, &self.inputs(), &self.outputs(), all_of(&self.scratch)?)
    }

    /// Runs the reference on the same values.
    fn with_reference<T>(
        &self,
        run: impl FnOnce(&reference::AttentionalDecoder, &reference::DecoderInputs<'_, Rounded>) -> T,
    ) -> T {
        let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation, .. } = self.decoder;
        let decoder = reference::AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation };
        let values = self.values.each_ref().map(|values| exact(values));
        let [words, state0, key, annotation, query_weight, energy] = &values;
        let (cell, mask) = (exact_cell(&self.cell), Mask::exact(self.mask.as_ref()));
        run(
            &decoder,
            &reference::DecoderInputs {
                words,
                state0,
                key,
                annotation,
                lengths: &self.lengths,
                query_weight,
                energy,
                cell: &cell,
                mask: mask.as_deref(),
            },
        )
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    case.run(|recorder| {
        let tiles = Tiles::choose(recorder.gpu(), &drawn.decoder);
        drawn.record(recorder, &tiles)
    })?;
    let expected = drawn.with_reference(|decoder, inputs| decoder.forward(inputs));
    let of_features = case.rounded_error(&drawn.features, &expected.features, 1.0, FORWARD)?;
    Ok(of_features.max(case.rounded_error(&drawn.weights, &expected.weights, 1.0, FORWARD)?))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation, .. } = drawn.decoder;
    let d_features = case.values(drawn.features.elements(), 0.1);
    let d_weights = case.coin().then(|| case.values(drawn.weights.elements(), 0.1));
    let d_features_gpu = case.upload_activation([batch, steps, drawn.decoder.features()], &d_features)?;
    let d_weights_gpu = d_weights.as_ref().map(|values| case.upload([batch, steps, keys], values)).transpose()?;
    let into = [
        match &drawn.named {
            None => case.poisoned_activation([batch, steps, word])?,
            Some(named) => case.poisoned(named.table_shape())?,
        },
        case.poisoned_activation([batch, hidden])?,
        case.poisoned_activation([batch, keys, size])?,
        case.poisoned_activation([batch, keys, annotation])?,
        case.poisoned([size, hidden])?,
        case.poisoned([size])?,
    ];
    let cell = poisoned_cell(case, word + annotation, hidden)?;
    let mut scratch = Vec::new();
    for elements in drawn.decoder.backward_scratch(case.dtype) {
        scratch.push(case.scratch(elements)?);
    }
    case.run(|recorder| {
        let tiles = Tiles::choose(recorder.gpu(), &drawn.decoder);
        drawn.record(recorder, &tiles)?;
        let [words, state0, key, annotation, query_weight, energy] = &into;
        let cell = as_weights(&cell);
        let gradients = Gradients { words, state0, key, annotation, query_weight, energy, cell };
        let backward = Backward {
            inputs: drawn.inputs(),
            outputs: drawn.outputs(),
            d_features: &d_features_gpu,
            d_weights: d_weights_gpu.as_ref(),
        };
        drawn.decoder.record_backward(recorder, &tiles, &backward, all_of(&scratch)?, &gradients)
    })?;
    let (d_features, d_weights) = (exact(&d_features), d_weights.map(|values| exact(&values)));
    let mut expected =
        drawn.with_reference(|decoder, inputs| decoder.backward(inputs, &d_features, d_weights.as_deref()));
    let mut errors = vec![cell_error(case, &cell, &expected.cell, BACKWARD)?];
    if let Some(named) = &drawn.named {
        expected.words = named.of_table(&expected.words);
    }
    let references = [
        &expected.words,
        &expected.state0,
        &expected.key,
        &expected.annotation,
        &expected.query_weight,
        &expected.energy,
    ];
    for (gradient, reference) in into.iter().zip(references) {
        // A row of one valid key has no gradient through its scores, only what rounding leaves of it.
        errors.push(case.rounded_error(gradient, reference, 0.1, BACKWARD)?);
    }
    Ok(largest(&errors))
}
