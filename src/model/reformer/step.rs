//! The model's steps in a search. Each token sorts all others anew, so that a step reads the whole text again.

use super::Reformer;
use crate::{
    Error, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::{Parameters, Placed, ProgramOptions},
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed, Texts},
        matmul::{Activation, Matrix},
    },
    model::{Encoder, Layers, LinearTensors, SearchRoom, StepOutputs, Stepper},
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct ReformerStepper {
    search: BeamSearch,
    /// From the texts to the states at their last places.
    graph: Placed,
    /// `[R, capacity]`, u32: the texts so far.
    tokens: Tensor,
    /// `[R]`, u32
    lengths: Tensor,
    /// `[R, 1]`, u32: the place of each text's last token.
    last: Tensor,
    /// `[R, 1, 2·D]`
    states: Tensor,
    output: LinearTensors,
    table: Tensor,
    /// `[R, D]`: what the search gathers, and nothing reads.
    words: Tensor,
}

impl ReformerStepper {
    pub fn new(network: &Reformer, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (rows, capacity, hidden) = (search.rows(), search.capacity, network.config.hidden);
        let whole = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::U32);
        let (tokens, lengths) = (whole("texts", &[rows, capacity])?, whole("lengths", &[rows])?);
        let last = whole("last", &[rows, 1])?;
        let states = gpu.zeros("states", [rows, 1, 2 * hidden], Dtype::F32)?;
        let mut layers = Layers::new();
        let read =
            [&tokens, &lengths, &last].map(|tensor| layers.graph.input("text", tensor.shape().clone(), Dtype::U32));
        let encoded = network.encode_padded(&mut layers, read[0], read[1], true)?;
        let made = layers.graph.listed_rows(encoded.states, read[2])?;
        let given =
            [(read[0], tokens.clone()), (read[1], lengths.clone()), (read[2], last.clone()), (made, states.clone())];
        let options = ProgramOptions {
            label: "generate".into(),
            parameters: Some(parameters),
            given: &given,
            ..ProgramOptions::default()
        };
        Ok(Self {
            graph: Placed::new(gpu, &layers.graph, &options)?,
            tokens,
            lengths,
            last,
            states,
            output: network.output.tensors(parameters)?,
            table: network.words.weight.tensor(parameters)?,
            words: gpu.zeros("words", [rows, hidden], Dtype::F32)?,
            search,
        })
    }
}

impl Stepper for ReformerStepper {
    /// There is nothing to read: every text begins alike.
    fn encoder(&self) -> Result<Encoder> {
        let mut graph = Layers::new().graph;
        let lengths = graph.counts([self.search.sentences], 1);
        Ok(Encoder { graph, lengths, state: None, kept: Vec::new() })
    }

    fn record_step<'a>(&'a self, recorder: &mut Recorder, _: usize, outputs: &StepOutputs<'a>) -> Result<Matrix<'a>> {
        if outputs.weights.is_some() {
            return Err(Error::data("an alignment", "needs a source to attend to, and this architecture has none"));
        }
        self.graph.record(recorder)?;
        self.output.record(recorder, self.search.rows(), &self.states, Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.words.shape().last(),
            words: &self.table,
            word_rows: Matrix::rows(&self.words),
            gates: None,
            states: None,
        }
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        let texts = Texts { tokens: &self.tokens, lengths: &self.lengths, last: &self.last };
        self.search.record_texts(recorder, state, &texts, step.map_or(0, |step| step + 1))
    }
}
