//! The model's steps in a search. Of each convolution the last inputs are a hypothesis's state.

use super::{ConvS2S, Convolution, HALF};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, Feed},
        copy::Copy,
        glu::Glu,
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
        permute::Permute,
        pointwise::Pointwise,
    },
    model::{
        BatchShape, Encoder, HeadSizes, Layers, LinearTensors, PositionTensors, SearchRoom, SourceRows, StepOutputs,
        Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct ConvS2SStepper {
    network: ConvS2S,
    search: BeamSearch,
    keys: usize,
    /// The table of target words.
    table: Tensor,
    positions: PositionTensors,
    into: LinearTensors,
    layers: Vec<StepLayer>,
    outof: LinearTensors,
    output: LinearTensors,
    source: SourceRows,
    /// `[sentences, S, E]`, which the encoder's graph leaves there.
    key: Tensor,
    /// `[sentences, S, E]`, likewise.
    value: Tensor,
    /// `[2, R, state]`: the inputs of each convolution before the present step, one layer after the other.
    states: Option<Tensor>,
    rows: Rows,
}

/// One layer.
#[derive(Debug)]
struct StepLayer {
    convolution: StepConvolution,
    query: LinearTensors,
    out: LinearTensors,
}

/// A convolution of one step's window.
#[derive(Debug)]
struct StepConvolution {
    /// `[2 H, H, width]`
    weight: Tensor,
    bias: Tensor,
    /// The weight as `[2 H, width, H]`, as windows lie.
    filter: Tensor,
    /// `[R, width, H]`
    window: Tensor,
    width: usize,
    /// The first element of its inputs in a row's state.
    first: usize,
}

/// Scratch of a step.
#[derive(Debug)]
struct Rows {
    /// `[R, E]`, three: words, words with positions, and a sum on its way to the query.
    words: Tensor,
    placed: Tensor,
    compared: Tensor,
    /// `[R, H]`: what passes the layers by, and sums on their way.
    x: Tensor,
    made: Tensor,
    sum: Tensor,
    /// `[R, 2 H]`
    wide: Tensor,
    /// `[R, O]`
    top: Tensor,
}

impl StepConvolution {
    fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        convolution: &Convolution,
        [rows, hidden]: [usize; 2],
        first: usize,
    ) -> Result<Self> {
        let width = convolution.width;
        Ok(Self {
            weight: convolution.weight.tensor(parameters)?,
            bias: convolution.bias.tensor(parameters)?,
            filter: gpu.zeros("filter", [2 * hidden, width * hidden], Dtype::F32)?,
            window: gpu.zeros("window", [rows, width * hidden], Dtype::F32)?,
            width,
            first,
        })
    }

    fn record_start(&self, recorder: &mut Recorder, hidden: usize) -> Result<()> {
        let permute = Permute { extents: [1, 2 * hidden, hidden, self.width], order: [0, 1, 3, 2] };
        permute.record(recorder, &self.weight, &self.filter)
    }

    /// Records the convolution of earlier inputs, `before`, and the present one, `x` `[R, H]`, to `wide` `[R, 2 H]`; and the inputs
    /// that are the earlier ones for the next step, to `after`.
    fn record(
        &self,
        recorder: &mut Recorder,
        x: &Tensor,
        states: Option<[Matrix<'_>; 2]>,
        wide: &Tensor,
    ) -> Result<()> {
        let (rows, hidden) = (x.shape().rows(), x.shape().last());
        let (kept, window) = ((self.width - 1) * hidden, Matrix::rows(&self.window));
        let copy = |columns| Copy { rows, columns, batch: 1 };
        copy(hidden).record(recorder, Matrix::rows(x), None, window.offset(kept))?;
        if let Some([before, after]) = states.filter(|_| kept > 0) {
            copy(kept).record(recorder, before.offset(self.first), None, window)?;
            copy(kept).record(recorder, window.offset(hidden), None, after.offset(self.first))?;
        }
        let product =
            Matmul { m: rows, n: 2 * hidden, k: self.width * hidden, batch: 1, transpose_b: true, ..Matmul::default() };
        let (b, c) = (Matrix::rows(&self.filter), Matrix::rows(wide));
        let tile = Tile::choose(recorder.gpu(), rows);
        product.record(recorder, tile, &Operands { a: window, b, bias: Some(&self.bias), c })
    }
}

impl ConvS2SStepper {
    pub fn new(network: &ConvS2S, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, .. } = *room;
        let (config, decoder, rows) = (&network.config, &network.decoder, search.rows());
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let (mut layers, mut state) = (Vec::new(), 0);
        for (convolution, attention) in decoder.convolutions.iter().zip(&network.attention) {
            layers.push(StepLayer {
                convolution: StepConvolution::new(gpu, parameters, convolution, [rows, config.hidden], state)?,
                query: attention.query.tensors(parameters)?,
                out: attention.out.tensors(parameters)?,
            });
            state += (convolution.width - 1) * config.hidden;
        }
        let heads = HeadSizes { count: 1, size: config.embedding, scale: 1.0 };
        let of_source = |label| tensor(label, &[search.sentences, keys, config.embedding]);
        Ok(Self {
            table: decoder.word.weight.tensor(parameters)?,
            positions: decoder.position.tensors(gpu, parameters, [search.capacity, config.embedding])?,
            into: decoder.into.tensors(parameters)?,
            layers,
            outof: decoder.outof.tensors(parameters)?,
            output: network.output.tensors(parameters)?,
            source: SourceRows::new(room, heads)?,
            key: of_source("key")?,
            value: of_source("value")?,
            states: if state > 0 { Some(tensor("states", &[2, rows, state])?) } else { None },
            rows: Rows {
                words: tensor("words", &[rows, config.embedding])?,
                placed: tensor("placed", &[rows, config.embedding])?,
                compared: tensor("compared", &[rows, config.embedding])?,
                x: tensor("x", &[rows, config.hidden])?,
                made: tensor("made", &[rows, config.hidden])?,
                sum: tensor("sum", &[rows, config.hidden])?,
                wide: tensor("wide", &[rows, 2 * config.hidden])?,
                top: tensor("top", &[rows, config.output_size])?,
            },
            network: network.clone(),
            search,
            keys,
        })
    }

    /// Elements of a row's state.
    fn state(&self) -> usize {
        self.states.as_ref().map_or(0, |states| states.shape().last())
    }

    /// The first elements of the states before and after a step.
    fn places(&self, step: usize) -> [usize; 2] {
        self.search.places(step, self.state())
    }

    /// Records a layer's attention: `made` with its context, where it was.
    fn record_attention(&self, recorder: &mut Recorder, layer: &StepLayer, lengths: &Tensor) -> Result<()> {
        let (rows, Rows { placed, compared, made, sum, .. }) = (self.search.rows(), &self.rows);
        let copy = Copy { rows, columns: self.network.config.embedding, batch: 1 };
        copy.record(recorder, Matrix::rows(placed), None, Matrix::rows(compared))?;
        layer.query.record_onto(recorder, rows, made, compared)?;
        let query = self.source.query().reshape([rows, self.network.config.embedding])?;
        Pointwise::Scale(HALF).record(recorder, compared, None, &query)?;
        self.source.record(recorder, [&self.key, &self.value], lengths)?;
        layer.out.record_onto(recorder, rows, self.source.context(), made)?;
        Pointwise::Scale(HALF).record(recorder, made, None, sum)
    }
}

impl Stepper for ConvS2SStepper {
    fn encoder(&self) -> Result<Encoder> {
        let sentences = self.search.sentences;
        let mut layers = Layers::new();
        let source = self.network.encode(&mut layers, BatchShape { rows: sentences, source: self.keys, target: 0 })?;
        let kept = vec![(source.key, self.key.clone()), (source.value, self.value.clone())];
        // Before a text there is nothing.
        let state = self.states.as_ref().map(|_| layers.graph.filled([sentences, self.state()], 0.0));
        Ok(Encoder { graph: layers.graph, lengths: source.lengths, state, kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        let hidden = self.network.config.hidden;
        self.layers.iter().try_for_each(|layer| layer.convolution.record_start(recorder, hidden))
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let (rows, [from, to]) = (self.search.rows(), self.places(step));
        let Rows { words, placed, x, made, sum, wide, top, .. } = &self.rows;
        let states = self.states.as_ref().map(|states| [from, to].map(|place| Matrix::rows(states).offset(place)));
        self.positions.record(recorder, words, (1.0, outputs.counter, step), placed)?;
        self.into.record(recorder, rows, placed, Activation::None, Matrix::rows(x))?;
        let glu = Glu { rows, columns: self.network.config.hidden };
        for layer in &self.layers {
            layer.convolution.record(recorder, x, states, wide)?;
            glu.record(recorder, wide, made)?;
            self.record_attention(recorder, layer, outputs.lengths)?;
            Pointwise::Add.record(recorder, sum, Some(x), made)?;
            Pointwise::Scale(HALF).record(recorder, made, None, x)?;
        }
        if let Some(weights) = outputs.weights {
            self.source.record_weights(recorder, &self.key, outputs.lengths, weights)?;
        }
        self.outof.record(recorder, rows, x, Activation::None, Matrix::rows(top))?;
        self.output.record(recorder, rows, top, Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.embedding,
            words: &self.table,
            word_rows: Matrix::rows(&self.rows.words),
            gates: None,
            states: self.states.as_ref().map(|states| (self.state(), states)),
        }
    }

    fn states_after(&self, step: usize) -> usize {
        self.places(step)[1]
    }
}
