//! The model's steps in a search, fused: attention, cell and products over all rows at once.

use super::{Bahdanau, graph::Encoded};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        attentional_decoder::{DecoderStep, StepInputs, StepTensors, Tiles},
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::{Activation, Matrix},
    },
    model::{BatchShape, Encoder, GruTensors, Layers, LinearTensors, SearchRoom, StepOutputs, Stepper},
};

/// A product of fewer rows costs what one of this many does: no tile is lower.
const LOWEST_TILE: usize = 8;

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct BahdanauStepper {
    network: Bahdanau,
    search: BeamSearch,
    step: DecoderStep,
    tiles: Tiles,
    parameters: StepParameters,
    annotation: Tensor,
    key: Tensor,
    /// `[2, R, H]`: the states before and after a step.
    states: Tensor,
    /// `[R, H + V + E]`: state, context, word.
    features: Tensor,
    /// `[R, 3H]`, what the word contributes to the gates.
    gi: Tensor,
    /// `[W, 3H]`, the contribution of every word, where that is less work than the products of the words chosen at each step.
    gi_of_words: Option<Tensor>,
    queries: Tensor,
    gates: Tensor,
    readout: Tensor,
}

/// The parameters that a step reads.
#[derive(Debug)]
struct StepParameters {
    words: Tensor,
    query: Tensor,
    energy: Tensor,
    cell: GruTensors,
    readout: Option<LinearTensors>,
    output: LinearTensors,
}

impl BahdanauStepper {
    pub fn new(network: &Bahdanau, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, steps } = *room;
        let config = &network.config;
        let (word, hidden, size) = (config.embedding, config.hidden, config.attention);
        let BeamSearch { sentences, beam, classes, .. } = search;
        let step = DecoderStep { batch: sentences, beam, keys, word, hidden, size, annotation: 2 * hidden };
        let rows = search.rows();
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let all_words = classes <= steps * rows.max(LOWEST_TILE);
        Ok(Self {
            network: network.clone(),
            parameters: StepParameters {
                words: network.words.weight.tensor(parameters)?,
                query: network.query.weight.tensor(parameters)?,
                energy: network.energy.weight.tensor(parameters)?,
                cell: network.cell.tensors(parameters)?,
                readout: network.readout.as_ref().map(|readout| readout.tensors(parameters)).transpose()?,
                output: network.output.tensors(parameters)?,
            },
            tiles: Tiles::of_step(gpu, &step),
            annotation: tensor("annotation", &[sentences, keys, 2 * hidden])?,
            key: tensor("key", &[sentences, keys, size])?,
            states: tensor("states", &[2, rows, hidden])?,
            features: tensor("features", &[rows, config.features()])?,
            gi: tensor("word's gates", &[rows, 3 * hidden])?,
            gi_of_words: if all_words { Some(tensor("words' gates", &[classes, 3 * hidden])?) } else { None },
            queries: tensor("queries", &[rows, size])?,
            gates: tensor("gates", &[rows, 4 * hidden])?,
            readout: tensor("readout", &[rows, config.readout_size])?,
            search,
            step,
        })
    }

    fn words(&self) -> Matrix<'_> {
        Matrix::rows(&self.features).offset(self.step.hidden + self.step.annotation)
    }

    /// Records what embedded `words` contribute to the gates.
    fn record_gates(&self, recorder: &mut Recorder, count: usize, words: Matrix<'_>, to: &Tensor) -> Result<()> {
        self.step.record_words(recorder, count, &self.parameters.cell.weights(), words, Matrix::rows(to))
    }

    /// The first elements of the states before and after a step.
    fn places(&self, step: usize) -> (usize, usize) {
        let after = self.search.rows() * self.step.hidden;
        // A beam's states go back to the first place as they are chosen; a row that goes its own way goes on from where it is.
        if self.search.apart() && step % 2 == 1 { (after, 0) } else { (0, after) }
    }
}

impl Stepper for BahdanauStepper {
    fn encoder(&self) -> Result<Encoder> {
        let DecoderStep { batch: rows, keys: source, .. } = self.step;
        let by_token = 2 * self.network.config.source_vocabulary <= rows * source;
        let mut layers = Layers::new();
        let encoded = self.network.encode(&mut layers, BatchShape { rows, source, target: 0 }, by_token)?;
        let Encoded { annotation, key, state, lengths } = encoded;
        let kept = vec![(annotation, self.annotation.clone()), (key, self.key.clone())];
        Ok(Encoder { graph: layers.graph, lengths, state: Some(state), kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let words = Matrix::rows(&self.parameters.words);
        match &self.gi_of_words {
            Some(table) => self.record_gates(recorder, self.search.classes, words, table),
            None => Ok(()),
        }
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        let StepOutputs { lengths, logits, weights, .. } = *outputs;
        let inputs = StepInputs {
            key: &self.key,
            annotation: &self.annotation,
            lengths,
            query_weight: &self.parameters.query,
            energy: &self.parameters.energy,
            cell: self.parameters.cell.weights(),
        };
        let (from, to) = self.places(step);
        let tensors = StepTensors {
            gi: Matrix::rows(&self.gi),
            states: &self.states,
            from,
            to,
            queries: Matrix::rows(&self.queries),
            features: Matrix::rows(&self.features),
            weights,
            gates: &self.gates,
            gates_offset: 0,
        };
        self.step.record(recorder, &self.tiles, &inputs, &tensors)?;
        let rows = self.search.rows();
        let mut top = &self.features;
        if let Some(readout) = &self.parameters.readout {
            readout.record(recorder, rows, top, Activation::Tanh, Matrix::rows(&self.readout))?;
            top = &self.readout;
        }
        self.parameters.output.record(recorder, rows, top, Activation::None, logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.step.word,
            words: &self.parameters.words,
            word_rows: self.words(),
            gates: self.gi_of_words.as_ref().map(|table| (table, &self.gi)),
            states: Some((self.step.hidden, &self.states)),
        }
    }

    fn states_after(&self, step: usize) -> usize {
        self.places(step).1
    }

    fn record_fed(&self, recorder: &mut Recorder, _: &BeamState, _: Option<usize>) -> Result<()> {
        match &self.gi_of_words {
            // The search has copied them from the table.
            Some(_) => Ok(()),
            None => self.record_gates(recorder, self.search.rows(), self.words(), &self.gi),
        }
    }
}
