//! Checks of steps by themselves, as generation takes them, whose contexts are never made.

use super::{
    super::{
        Case,
        gru::{as_weights, cell_values, exact_cell, upload_cell},
        rounded::{Rounded, exact},
    },
    FORWARD,
};
use crate::{
    Result, Tensor,
    gpu::Recorder,
    kernels::{
        attentional_decoder::{ContributedStep, DecoderStep, StepLayers, StepMemory},
        copy::Copy,
        embedding::Embedding,
        matmul::{Activation, Matrix},
    },
    reference::{attentional_decoder as reference, matmul},
};

/// Steps of a case: the states change places.
const STEPS: usize = 3;

/// A drawn case.
struct Drawn {
    step: ContributedStep,
    vocabulary: usize,
    lengths: Vec<u32>,
    /// Those of all rows at each step.
    tokens: Vec<Vec<u32>>,
    /// Words, states, keys, annotations, query weight, energy, the layer above and its bias.
    values: [Vec<f32>; 8],
    cell: [Vec<f32>; 4],
}

fn draw(case: &mut Case<'_>) -> Drawn {
    // Half of the cases take the widest loads.
    let unit = if case.coin() { 8 } else { 1 };
    let mut width = |most: usize| case.size(most / unit) * unit;
    let (word, hidden, size, annotation) = (width(33), width(40), width(65), width(65));
    let (batch, beam, keys, top, vocabulary) = (case.size(9), case.size(4), case.size(33), case.size(65), case.size(9));
    let step = ContributedStep { step: DecoderStep { batch, beam, keys, word, hidden, size, annotation }, top };
    let (rows, features) = (batch * beam, hidden + annotation + word);
    let mut of_rows = || (0..rows).map(|_| case.below(vocabulary) as u32).collect();
    Drawn {
        step,
        vocabulary,
        tokens: (0..STEPS).map(|_| of_rows()).collect(),
        lengths: case.lengths(batch, keys),
        values: [
            case.values(vocabulary * word, 1.0),
            case.values(rows * hidden, 0.5),
            case.values(batch * keys * size, 1.0),
            case.values(batch * keys * annotation, 1.0),
            case.values(size * hidden, 1.0 / (hidden as f32).sqrt()),
            case.values(size, 1.0 / (size as f32).sqrt()),
            case.values(top * features, 1.0 / (features as f32).sqrt()),
            case.values(top, 0.5),
        ],
        cell: cell_values(case, word + annotation, hidden),
    }
}

impl Drawn {
    /// The layer above at all steps, `[STEPS, R, T]`, by a loop over a batch of all rows.
    fn reference(&self) -> Vec<Rounded> {
        let ContributedStep { step, top } = self.step;
        let DecoderStep { batch, beam, keys, word, hidden, size, annotation } = step;
        let [words, state0, key, annotations, query, energy, top_weight, top_bias] = &self.values;
        let rows = batch * beam;
        let of_rows = |values: &[f32], each: usize| -> Vec<Rounded> {
            exact(&(0..rows).flat_map(|row| values[row / beam * each..][..each].to_vec()).collect::<Vec<_>>())
        };
        let spoken = (0..rows * STEPS).map(|i| self.tokens[i % STEPS][i / STEPS] as usize);
        let spoken: Vec<f32> = spoken.flat_map(|token| words[token * word..][..word].to_vec()).collect();
        let decoder = reference::AttentionalDecoder { batch: rows, steps: STEPS, keys, word, hidden, size, annotation };
        let outputs = decoder.forward(&reference::DecoderInputs {
            words: &exact(&spoken),
            state0: &exact(state0),
            key: &of_rows(key, keys * size),
            annotation: &of_rows(annotations, keys * annotation),
            lengths: &(0..rows).map(|row| self.lengths[row / beam]).collect::<Vec<_>>(),
            query_weight: &exact(query),
            energy: &exact(energy),
            cell: &exact_cell(&self.cell),
            mask: None,
        });
        let layer = matmul::Matmul {
            m: rows * STEPS,
            n: top,
            k: hidden + annotation + word,
            batch: 1,
            transpose_a: false,
            transpose_b: true,
            activation: matmul::Activation::None,
        };
        let by_row = layer.forward(&outputs.features, &exact(top_weight), Some(&exact(top_bias)));
        (0..STEPS * rows).flat_map(|i| by_row[(i % rows * STEPS + i / rows) * top..][..top].to_vec()).collect()
    }

    /// Values of `width` for each key, NaN past a row's length.
    fn padded(&self, values: &[f32], width: usize) -> Vec<f32> {
        let keys = self.step.step.keys;
        let valid = |row: usize| row % keys < self.lengths[row / keys] as usize;
        let rows = values.chunks(width).enumerate();
        rows.flat_map(|(row, x)| x.iter().map(move |x| if valid(row) { *x } else { f32::NAN })).collect()
    }
}

/// The layer above the decoder, for beams of rows that read tokens of their own.
pub(super) fn step(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case);
    let Drawn { step, vocabulary, ref lengths, ref tokens, ref values, ref cell } = drawn;
    let DecoderStep { batch, beam, keys, word, hidden, size, annotation } = step.step;
    let (top, rows, features) = (step.top, batch * beam, hidden + annotation + word);
    let [words, state0, key, annotations, query, energy, top_weight, top_bias] = values;
    let memory = StepMemory::new(case.gpu, &step, vocabulary)?;
    let mut states = vec![f32::NAN; 2 * rows * hidden];
    states[..rows * hidden].copy_from_slice(state0);
    case.gpu.write(&memory.states, &states)?;
    case.gpu.write(&memory.gi, &vec![f32::NAN; memory.gi.elements()])?;
    let key = case.upload([batch, keys, size], &drawn.padded(key, size))?;
    let annotations = case.upload([batch, keys, annotation], &drawn.padded(annotations, annotation))?;
    let lengths = case.upload_u32([batch], lengths)?;
    let tokens = tokens.iter().map(|tokens| case.upload_u32([rows], tokens)).collect::<Result<Vec<_>>>()?;
    let cell = upload_cell(case, word + annotation, hidden, cell)?;
    let layers = StepLayers {
        words: &case.upload([vocabulary, word], words)?,
        query_weight: &case.upload([size, hidden], query)?,
        energy: &case.upload([size], energy)?,
        cell: as_weights(&cell),
        top_weight: &case.upload([top, features], top_weight)?,
        top_bias: Some(&case.upload([top], top_bias)?),
    };
    let (next, found) = (case.coin(), case.poisoned([STEPS, rows, top])?);
    let one = |recorder: &mut Recorder, (t, tokens): (usize, &Tensor)| -> Result<()> {
        let gather = Embedding { vocabulary, size: step.inputs(), tokens: rows, padding: None };
        gather.record(recorder, &memory.words, tokens, Matrix::rows(&memory.gi))?;
        let places = [t % 2, (t + 1) % 2].map(|place| place * rows * hidden);
        if t == 0 || !next {
            step.record_state(recorder, &memory, places[0])?;
        }
        step.record_attended(recorder, &memory, [&key, &lengths], places, None)?;
        step.record_top(recorder, &memory, places[1], next, Activation::None)?;
        let to = Matrix::rows(&found).offset(t * rows * top);
        Copy { rows, columns: top, batch: 1 }.record(recorder, step.top(&memory), None, to)
    };
    case.run(|recorder| {
        step.record_start(recorder, &layers, &annotations, &memory)?;
        tokens.iter().enumerate().try_for_each(|step| one(recorder, step))
    })?;
    case.rounded_error(&found, &drawn.reference(), 1.0, FORWARD)
}
