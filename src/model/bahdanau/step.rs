//! The model's steps in a search with a product of each context, for sources or vocabularies over which [`super::contributed`] does
//! not pay: attention, cell and products over all rows at once.

use super::Bahdanau;
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
pub(super) struct StepParameters {
    pub words: Tensor,
    pub query: Tensor,
    pub energy: Tensor,
    pub cell: GruTensors,
    pub readout: Option<LinearTensors>,
    pub output: LinearTensors,
}

impl StepParameters {
    pub fn new(network: &Bahdanau, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            words: network.words.weight.tensor(parameters)?,
            query: network.query.weight.tensor(parameters)?,
            energy: network.energy.weight.tensor(parameters)?,
            cell: network.cell.tensors(parameters)?,
            readout: network.readout.as_ref().map(|readout| readout.tensors(parameters)).transpose()?,
            output: network.output.tensors(parameters)?,
        })
    }
}

/// Whether products of all words, once between two looks, are less work than those of the words chosen at each step.
pub(super) fn all_words_pay(room: &SearchRoom<'_>) -> bool {
    room.search.classes <= room.steps * room.search.rows().max(LOWEST_TILE)
}

impl Bahdanau {
    /// The sizes of a step.
    pub(super) fn step(&self, room: &SearchRoom<'_>) -> DecoderStep {
        let (config, BeamSearch { sentences: batch, beam, .. }) = (&self.config, room.search);
        let (word, hidden, size) = (config.embedding, config.hidden, config.attention);
        DecoderStep { batch, beam, keys: room.keys, word, hidden, size, annotation: 2 * hidden }
    }

    /// The encoder of a search, which keeps annotations and keys.
    pub(super) fn search_encoder(&self, step: &DecoderStep, [annotation, key]: [&Tensor; 2]) -> Result<Encoder> {
        let DecoderStep { batch: rows, keys: source, .. } = *step;
        let by_token = 2 * self.config.source_vocabulary <= rows * source;
        let mut layers = Layers::new();
        let encoded = self.encode(&mut layers, BatchShape { rows, source, target: 0 }, by_token)?;
        let kept = vec![(encoded.annotation, annotation.clone()), (encoded.key, key.clone())];
        Ok(Encoder { graph: layers.graph, lengths: encoded.lengths, state: Some(encoded.state), kept })
    }
}

impl BahdanauStepper {
    pub fn new(network: &Bahdanau, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (config, step) = (&network.config, network.step(room));
        let (rows, hidden) = (search.rows(), config.hidden);
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        Ok(Self {
            network: network.clone(),
            parameters: StepParameters::new(network, parameters)?,
            tiles: Tiles::of_step(gpu, &step),
            annotation: tensor("annotation", &[step.batch, step.keys, step.annotation])?,
            key: tensor("key", &[step.batch, step.keys, step.size])?,
            states: tensor("states", &[2, rows, hidden])?,
            features: tensor("features", &[rows, config.features()])?,
            gi: tensor("word's gates", &[rows, 3 * hidden])?,
            gi_of_words: match all_words_pay(room) {
                true => Some(tensor("words' gates", &[search.classes, 3 * hidden])?),
                false => None,
            },
            queries: tensor("queries", &[rows, step.size])?,
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
    fn places(&self, step: usize) -> [usize; 2] {
        self.search.places(step, self.step.hidden)
    }
}

impl Stepper for BahdanauStepper {
    fn encoder(&self) -> Result<Encoder> {
        self.network.search_encoder(&self.step, [&self.annotation, &self.key])
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let words = Matrix::rows(&self.parameters.words);
        match &self.gi_of_words {
            Some(table) => self.record_gates(recorder, self.search.classes, words, table),
            None => Ok(()),
        }
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let StepOutputs { lengths, logits, weights, .. } = *outputs;
        let inputs = StepInputs {
            key: &self.key,
            annotation: &self.annotation,
            lengths,
            query_weight: &self.parameters.query,
            energy: &self.parameters.energy,
            cell: self.parameters.cell.weights(),
        };
        let [from, to] = self.places(step);
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
        self.parameters.output.record(recorder, rows, top, Activation::None, logits)?;
        Ok(logits)
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
        self.places(step)[1]
    }

    fn record_fed(&self, recorder: &mut Recorder, _: &BeamState, _: Option<usize>) -> Result<()> {
        match &self.gi_of_words {
            // The search has copied them from the table.
            Some(_) => Ok(()),
            None => self.record_gates(recorder, self.search.rows(), self.words(), &self.gi),
        }
    }
}
