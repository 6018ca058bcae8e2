//! The model's steps in a search. A row of the states is those of all layers side by side, so that a hypothesis takes them along.

use super::Sutskever;
use crate::{
    Error, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        copy::Copy,
        gru::{self, Cell, CellStep},
        matmul::{Activation, Matrix},
    },
    model::{
        Architecture as _, BatchShape, Encoder, GruTensors, Layers, LinearTensors, SearchRoom, StepOutputs, Stepper,
    },
};

/// A product of fewer rows costs what one of this many does: no tile is lower.
const LOWEST_TILE: usize = 8;

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct SutskeverStepper {
    network: Sutskever,
    search: BeamSearch,
    keys: usize,
    /// The table of words.
    table: Tensor,
    /// The cells, from below.
    cells: Vec<GruTensors>,
    output: LinearTensors,
    /// `[2, R, L H]`: the states before and after a step.
    states: Tensor,
    /// `[2, R, H]`: those of one layer.
    layer_states: Tensor,
    /// `[R, H]`, what the layer above reads.
    top: Tensor,
    /// `[R, E]`
    words: Tensor,
    /// `[R, 3H]`, what a layer's input contributes to the gates.
    gi: Tensor,
    /// `[W, 3H]`, the contribution of every word, where that is less work than the products of the words chosen at each step.
    gi_of_words: Option<Tensor>,
    /// `[R, 4H]`
    gates: Tensor,
}

impl SutskeverStepper {
    pub fn new(network: &Sutskever, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, steps, .. } = *room;
        let config = &network.config;
        let (hidden, rows, classes) = (config.hidden, search.rows(), search.classes);
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let all_words = classes <= steps * rows.max(LOWEST_TILE);
        Ok(Self {
            table: network.words.weight.tensor(parameters)?,
            cells: network.cells.iter().map(|cell| cell.tensors(parameters)).collect::<Result<_>>()?,
            output: network.output.tensors(parameters)?,
            states: tensor("states", &[2, rows, config.layers * hidden])?,
            layer_states: tensor("states of a layer", &[2, rows, hidden])?,
            top: tensor("top state", &[rows, hidden])?,
            words: tensor("words", &[rows, config.embedding])?,
            gi: tensor("gates of the input", &[rows, 3 * hidden])?,
            gi_of_words: if all_words { Some(tensor("words' gates", &[classes, 3 * hidden])?) } else { None },
            gates: tensor("gates", &[rows, 4 * hidden])?,
            network: network.clone(),
            search,
            keys,
        })
    }

    /// Records what words contribute to the gates of the lowest layer.
    fn record_words(&self, recorder: &mut Recorder, count: usize, words: &Tensor, to: &Tensor) -> Result<()> {
        self.cells.first().map_or(Ok(()), |cell| cell.record_input(recorder, count, words, to))
    }

    /// The first elements of the states before and after a step.
    fn places(&self, step: usize) -> [usize; 2] {
        self.search.places(step, self.network.config.layers * self.network.config.hidden)
    }

    /// Records a layer's cell, from its states among those at `from` to those at `to`.
    fn record_cell(
        &self,
        recorder: &mut Recorder,
        number: usize,
        cell: &GruTensors,
        [from, to]: [usize; 2],
    ) -> Result<()> {
        let (rows, hidden) = (self.search.rows(), self.network.config.hidden);
        let copy = Copy { rows, columns: hidden, batch: 1 };
        let of_layer = |place: usize| Matrix::rows(&self.states).offset(place + number * hidden);
        let before = Matrix { stride: hidden, ..Matrix::rows(&self.layer_states) };
        copy.record(recorder, of_layer(from), None, before)?;
        let step = CellStep {
            gi: Matrix::rows(&self.gi),
            picks: None,
            begins: false,
            weight_hh: &cell.weight_hh,
            bias_hh: &cell.bias_hh,
            states: &self.layer_states,
            from: 0,
            to: rows * hidden,
            y: Matrix::rows(&self.top),
            gates: &self.gates,
            gates_offset: 0,
            context: None,
            masking: None,
            valid: None,
        };
        let cell = Cell { rows, hidden };
        cell.record(recorder, gru::Tile::choose(recorder.gpu(), [rows, hidden], 1), &step)?;
        copy.record(recorder, Matrix::rows(&self.top), None, of_layer(to))
    }
}

impl Stepper for SutskeverStepper {
    fn encoder(&self) -> Result<Encoder> {
        let (rows, source, config) = (self.search.sentences, self.keys, &self.network.config);
        let by_token = 2 * config.source_vocabulary <= rows * source;
        let mut layers = Layers::new();
        let shape = BatchShape { rows, source, target: 0 };
        let encoded = self.network.encoder.forward(&mut layers, shape, 0.0, by_token)?;
        let rows_of = |state| layers.graph.reshape(state, [rows, config.hidden]);
        let states = encoded.finals.into_iter().map(rows_of).collect::<Result<Vec<_>>>()?;
        let state = layers.graph.concatenate(&states)?;
        Ok(Encoder { graph: layers.graph, lengths: encoded.lengths, state: Some(state), kept: Vec::new() })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        match &self.gi_of_words {
            Some(gates) => self.record_words(recorder, self.search.classes, &self.table, gates),
            None => Ok(()),
        }
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        if outputs.weights.is_some() {
            return Err(Error::data(self.network.name(), "has no alignment weights: it is without attention"));
        }
        let rows = self.search.rows();
        for (number, cell) in self.cells.iter().enumerate() {
            if number > 0 {
                cell.record_input(recorder, rows, &self.top, &self.gi)?;
            }
            self.record_cell(recorder, number, cell, self.places(step))?;
        }
        self.output.record(recorder, rows, &self.top, Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        let config = &self.network.config;
        Feed {
            word: config.embedding,
            words: &self.table,
            word_rows: Matrix::rows(&self.words),
            gates: self.gi_of_words.as_ref().map(|gates| (gates, &self.gi)),
            states: Some((config.layers * config.hidden, &self.states)),
        }
    }

    fn states_after(&self, step: usize) -> usize {
        self.places(step)[1]
    }

    fn record_fed(&self, recorder: &mut Recorder, _: &BeamState, _: Option<usize>) -> Result<()> {
        match &self.gi_of_words {
            // The search has copied them from the table.
            Some(_) => Ok(()),
            None => self.record_words(recorder, self.search.rows(), &self.words, &self.gi),
        }
    }
}
