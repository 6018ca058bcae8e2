//! A decoder alone in the steps of a search: there is no source, and keys and values of the text so far stay in caches.

use super::{
    CachedLayer, Embedding, FeedForward, FeedForwardRows, FeedForwardTensors, Flow, LayerNormTensors, Layers, Linear,
    LinearTensors, NormOrder, Residual, StepCaches, StepRows,
};
use crate::{
    Error, Result, Tensor,
    gpu::Recorder,
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::{Activation, Matrix},
    },
    model::{Encoder, SearchRoom, StepOutputs},
};

/// One layer: attention to what is before a position, then a feed-forward part.
#[derive(Debug)]
pub struct CausalLayer {
    /// The attention and its cache.
    attention: CachedLayer,
    attention_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl CausalLayer {
    /// A layer with the connections around its attention and its feed-forward part.
    ///
    /// # Errors
    /// [`Error::Shape`] if the parameters lack one of the layer's names and shapes.
    pub fn new(
        parameters: &Parameters,
        attention: CachedLayer,
        feed_forward: &FeedForward,
        [around_attention, around_feed_forward]: [&Residual; 2],
    ) -> Result<Self> {
        Ok(Self {
            attention,
            attention_norm: around_attention.tensors(parameters)?,
            feed_forward: feed_forward.tensors(parameters)?,
            feed_forward_norm: around_feed_forward.tensors(parameters)?,
        })
    }
}

/// The layers of the decoder and their memory; R rows.
#[derive(Debug)]
pub struct CausalSteps {
    search: BeamSearch,
    /// `[W, D]`
    words: Tensor,
    output: LinearTensors,
    /// What the attention of all layers shares.
    pub caches: StepCaches,
    layers: Vec<CausalLayer>,
    /// The rows on their way through the layers, `[R, D]`.
    pub rows: StepRows,
    between: FeedForwardRows,
}

impl CausalSteps {
    /// Memory for the steps of a search, with `between` features within the feed-forward parts.
    ///
    /// # Errors
    /// [`Error::Shape`] if the parameters lack one of the names and shapes; [`Error::OutOfMemory`].
    pub fn new(
        room: &SearchRoom<'_>,
        parameters: &Parameters,
        (words, output): (&Embedding, &Linear),
        caches: StepCaches,
        layers: Vec<CausalLayer>,
        between: usize,
    ) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        Ok(Self {
            words: words.weight.tensor(parameters)?,
            output: output.tensors(parameters)?,
            rows: StepRows::new(gpu, search.rows(), words.weight.shape.last())?,
            between: FeedForwardRows::new(gpu, search.rows(), between, false)?,
            search,
            caches,
            layers,
        })
    }

    /// There is nothing to read: every text begins alike.
    pub fn encoder(&self) -> Encoder {
        let mut graph = Layers::new().graph;
        let lengths = graph.counts([self.search.sentences], 1);
        Encoder { graph, lengths, state: None, kept: Vec::new() }
    }

    /// Records the work that all steps share.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.attention.record_start(recorder))
    }

    /// Records the way through the layers. `attend` records what the attention of a layer, by its number, adds to its second tensor for
    /// its first.
    ///
    /// # Errors
    /// [`Error::Data`] where weights are asked for; the errors of the kernels.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        outputs: &StepOutputs<'_>,
        flow: &mut Flow<'_>,
        mut attend: impl FnMut(&mut Recorder, (usize, &CachedLayer), [&Tensor; 2]) -> Result<()>,
    ) -> Result<()> {
        if outputs.weights.is_some() {
            return Err(Error::data("an alignment", "needs a source to attend to, and this architecture has none"));
        }
        for (number, layer) in self.layers.iter().enumerate() {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                attend(recorder, (number, &layer.attention), [x, y])
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        Ok(())
    }

    /// Records the logits of the rows as they are by now.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_logits(&self, recorder: &mut Recorder, flow: &Flow<'_>, logits: Matrix<'_>) -> Result<()> {
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, logits)
    }

    /// Where embedded words go: `to` `[R, D]`.
    pub fn feed<'a>(&'a self, to: &'a Tensor) -> Feed<'a> {
        let word = to.shape().last();
        Feed { word, words: &self.words, word_rows: Matrix::rows(to), gates: None, states: None }
    }

    /// Records where the rows stand, after tokens and parents have been chosen in a step, or before the first one.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
