//! A model's encoder and decoder steps in a search.

use std::fmt;

use crate::{
    Gpu, Result, Tensor,
    gpu::Recorder,
    graph::{Graph, Value},
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::Matrix,
    },
};

/// The device and the sizes of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchRoom<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Sentences, rows and classes.
    pub search: BeamSearch,
    /// The most tokens of a source, S.
    pub keys: usize,
    /// Steps between two looks at the results.
    pub steps: usize,
    /// Whether the search chooses by the logits of this model as they are.
    pub alone: bool,
}

/// The graph that reads the sources, once in a search. Its inputs are columns of [`crate::batch::Batch`].
#[derive(Debug)]
pub struct Encoder {
    /// From source tokens to the tensors that the steps read.
    pub graph: Graph,
    /// The source lengths, `[sentences]`.
    pub lengths: Value,
    /// The state before the first step, `[sentences, H]`, of a model whose steps have `Feed::states`.
    pub state: Option<Value>,
    /// Further outputs for the steps, such as annotations, each with the stepper's tensor that receives it.
    pub kept: Vec<(Value, Tensor)>,
}

/// A model's memory in a search, and how its steps are recorded there. The search calls in this order: the encoder;
/// [`Stepper::record_start`]; the first tokens, fed by its own kernels, and [`Stepper::record_fed`]; then for each step
/// [`Stepper::record_step`], the choice of tokens with what they feed, and [`Stepper::record_fed`] again.
pub trait Stepper: fmt::Debug {
    /// The graph that encodes the sources.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    fn encoder(&self) -> Result<Encoder>;

    /// Records the work that all steps of a search share, after the encoder.
    ///
    /// # Errors
    /// The errors of the kernels.
    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let _ = recorder;
        Ok(())
    }

    /// Records the `step`-th step since the last look as far as its logits `[R, W]` and, where they are asked for, its
    /// alignment weights `[R, S]`. Returns where the logits are: where `outputs` say, or, of a model that is [`SearchRoom::alone`],
    /// anywhere.
    ///
    /// # Errors
    /// The errors of the kernels; [`crate::Error::Data`] where weights are asked for that the model does not have.
    fn record_step<'a>(&'a self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'a>)
    -> Result<Matrix<'a>>;

    /// Decoder inputs that the search's kernels gather for the chosen tokens: the tables and the destinations.
    fn feed(&self) -> Feed<'_>;

    /// The first element of the states after a step, among `Feed::states`; hypotheses that compete choose from these. Without states
    /// it means nothing.
    fn states_after(&self, step: usize) -> usize {
        let _ = step;
        0
    }

    /// Records the model's own preparation of the next step, after the search has chosen tokens and parents in `step` and fed them,
    /// or, without a step, fed the first tokens.
    ///
    /// # Errors
    /// The errors of the kernels.
    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        let _ = (recorder, state, step);
        Ok(())
    }
}

/// Inputs of a step from its search, and the tensors that receive its results.
#[derive(Clone, Copy, Debug)]
pub struct StepOutputs<'a> {
    /// Source lengths, `[sentences]`.
    pub lengths: &'a Tensor,
    /// Steps made before this look, u32 `[1]`.
    pub counter: &'a Tensor,
    /// `[R, W]`
    pub logits: Matrix<'a>,
    /// `[R, S]`, where they are asked for.
    pub weights: Option<Matrix<'a>>,
}
