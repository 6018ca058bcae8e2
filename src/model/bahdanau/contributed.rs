//! The model's steps in a search without a product of the context: what annotations and words contribute to the gates and to the layer
//! above is computed once.

use super::{
    Bahdanau,
    step::{StepParameters, all_words_pay},
};
use crate::{
    Result, Tensor,
    gpu::{Dtype, ELEMENT, Recorder, product},
    graph::Parameters,
    kernels::{
        attentional_decoder::{ContributedStep, StepLayers, StepMemory},
        beam_search::{BeamSearch, Feed},
        copy::Copy,
        matmul::{Activation, Matrix},
    },
    model::{Encoder, SearchRoom, StepOutputs, Stepper},
};

/// Multiplications of a product in the time that memory takes for a number: about as many on a CPU as on a GPU.
const PRODUCTS_A_LOAD: usize = 20;

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct ContributedStepper {
    network: Bahdanau,
    search: BeamSearch,
    step: ContributedStep,
    memory: StepMemory,
    parameters: StepParameters,
    annotation: Tensor,
    key: Tensor,
    /// Whether the layer above is the output layer, and the search reads it where it is.
    own_logits: bool,
}

impl ContributedStepper {
    fn step(network: &Bahdanau, room: &SearchRoom<'_>) -> ContributedStep {
        let top = match network.readout {
            Some(_) => network.config.readout_size,
            None => network.config.target_vocabulary,
        };
        ContributedStep { step: network.step(room), top }
    }

    /// Whether such steps are less work than those with a product of the context, and there is room for them. For each of its columns
    /// a product loads V weights and multiplies with V for each row; each row loads its own contributions, one for each key. The
    /// product that a search begins with is left aside, and so are the dispatches that each step spares: on lavapipe they are even.
    pub fn pays(network: &Bahdanau, room: &SearchRoom<'_>) -> bool {
        let (step, rows) = (Self::step(network, room), room.search.rows());
        let elements = product(&[room.search.sentences, room.keys, step.inputs()]);
        let fits = elements as u64 <= room.gpu.limits().max_storage_buffer_binding_size / ELEMENT;
        let (loads, products) = (product(&[rows, room.keys]), product(&[step.step.annotation, PRODUCTS_A_LOAD + rows]));
        let short = product(&[PRODUCTS_A_LOAD, loads]) <= products;
        fits && short && step.top <= 3 * step.step.hidden && all_words_pay(room) && step.fits(room.gpu)
    }

    pub fn new(network: &Bahdanau, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let (gpu, search, step) = (room.gpu, room.search, Self::step(network, room));
        let sizes = step.step;
        let tensor = |label: &str, size| gpu.zeros(label, [sizes.batch, sizes.keys, size], Dtype::F32);
        Ok(Self {
            network: network.clone(),
            parameters: StepParameters::new(network, parameters)?,
            memory: StepMemory::new(gpu, &step, search.classes)?,
            annotation: tensor("annotation", sizes.annotation)?,
            key: tensor("key", sizes.size)?,
            own_logits: room.alone && network.readout.is_none(),
            search,
            step,
        })
    }

    /// Whether the products that the next step begins with are made along with the logits: no row goes on from another's state.
    fn makes_next(&self) -> bool {
        self.own_logits && self.search.apart()
    }

    fn places(&self, step: usize) -> [usize; 2] {
        self.search.places(step, self.step.step.hidden)
    }
}

impl Stepper for ContributedStepper {
    fn encoder(&self) -> Result<Encoder> {
        self.network.search_encoder(&self.step.step, [&self.annotation, &self.key])
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let StepParameters { words, query, energy, cell, readout, output } = &self.parameters;
        let top = readout.as_ref().unwrap_or(output);
        let layers = StepLayers {
            words,
            query_weight: query,
            energy,
            cell: cell.weights(),
            top_weight: &top.weight,
            top_bias: top.bias.as_ref(),
        };
        self.step.record_start(recorder, &layers, &self.annotation, &self.memory)
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let StepOutputs { lengths, logits, weights, .. } = *outputs;
        let (memory, places) = (&self.memory, self.places(step));
        // The steps before a look leave nothing for the first one after it, which may be that of another search.
        if step == 0 || !self.makes_next() {
            self.step.record_state(recorder, memory, places[0])?;
        }
        self.step.record_attended(recorder, memory, [&self.key, lengths], places, weights)?;
        let readout = self.parameters.readout.is_some();
        let activation = if readout { Activation::Tanh } else { Activation::None };
        self.step.record_top(recorder, memory, places[1], self.makes_next(), activation)?;
        let (rows, top) = (self.search.rows(), self.step.top(memory));
        if readout {
            self.parameters.output.record_rows(recorder, [rows, self.step.top], top, Activation::None, logits)?;
        } else if self.own_logits {
            return Ok(top);
        } else {
            Copy { rows, columns: self.step.top, batch: 1 }.record(recorder, top, None, logits)?;
        }
        Ok(logits)
    }

    fn feed(&self) -> Feed<'_> {
        let StepMemory { words, gi, states, .. } = &self.memory;
        let hidden = self.step.step.hidden;
        Feed {
            word: self.step.inputs(),
            words,
            word_rows: Matrix::rows(gi),
            gates: None,
            states: Some((hidden, states)),
        }
    }

    fn states_after(&self, step: usize) -> usize {
        self.places(step)[1]
    }
}
