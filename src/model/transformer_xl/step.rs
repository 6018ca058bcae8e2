//! The model's steps in a search: a step sees the keys and values of its segment and of the memory before it.

use super::{Attention, TransformerXl};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamState, Feed},
        cached_attention::{Bias, Segments},
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
        pointwise::Pointwise,
    },
    model::{
        CachedLayer, CausalLayer, CausalSteps, Encoder, HeadSizes, LinearTensors, SearchRoom, StepCaches, StepOutputs,
        Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct TransformerXlStepper {
    steps: CausalSteps,
    heads: HeadSizes,
    /// Of each layer.
    relative: Vec<Relative>,
    /// `[R, D]`
    words: Tensor,
    /// Sinusoids of distances, `[capacity, D]`.
    positions: Tensor,
    /// Queries to be compared with distances, `[R, N·D]`.
    queries: Tensor,
    /// Their products, `[R, N, capacity]`.
    products: Tensor,
}

/// What tells one layer's queries how far away a key is.
#[derive(Debug)]
struct Relative {
    /// To query, key and value side by side, `[3·N·D, D]`.
    projection: Tensor,
    /// `[N, D]`, added to a query for distances.
    position_bias: Tensor,
    layer: LinearTensors,
    /// What queries are compared with for each distance, `[capacity, N·D]`.
    vectors: Tensor,
}

impl Relative {
    fn new(room: &SearchRoom<'_>, parameters: &Parameters, attention: &Attention) -> Result<Self> {
        let shape = [room.search.capacity, attention.heads.width()];
        Ok(Self {
            projection: attention.projection.tensors(parameters)?.weight,
            position_bias: attention.position_bias.tensor(parameters)?,
            layer: attention.relative.tensors(parameters)?,
            vectors: room.gpu.zeros("vectors", shape, Dtype::F32)?,
        })
    }

    /// Records the products of each row's query with the vectors of all distances.
    fn record_products(
        &self,
        recorder: &mut Recorder,
        heads: HeadSizes,
        x: &Tensor,
        [queries, products]: [&Tensor; 2],
    ) -> Result<()> {
        let (rows, width, capacity) = (x.shape().rows(), heads.width(), self.vectors.shape().rows());
        let tile = Tile::choose(recorder.gpu(), rows);
        let project =
            Matmul { m: rows, n: width, k: x.shape().last(), batch: 1, transpose_b: true, ..Matmul::default() };
        let [a, b, c] = [x, &self.projection, queries].map(Matrix::rows);
        project.record(recorder, tile, &Operands { a, b, bias: Some(&self.position_bias), c })?;
        let compare =
            Matmul { m: rows, n: capacity, k: heads.size, batch: heads.count, transpose_b: true, ..Matmul::default() };
        let of_heads = |tensor, stride, batch_stride| Matrix { tensor, offset: 0, stride, batch_stride };
        let (a, b) = (of_heads(queries, width, heads.size), of_heads(&self.vectors, width, heads.size));
        let c = of_heads(products, heads.count * capacity, capacity);
        compare.record(recorder, tile, &Operands { a, b, bias: None, c })
    }
}

impl TransformerXlStepper {
    pub fn new(network: &TransformerXl, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, .. } = *room;
        let (config, rows, capacity) = (&network.config, search.rows(), search.capacity);
        let heads = config.heads();
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let segments = Segments { steps: config.segment, memory: config.memory };
        let caches = StepCaches::new(room, heads, Some(segments))?;
        let layers = network.layers.iter().map(|layer| {
            let Attention { projection, output, content_bias, .. } = &layer.attention;
            let tensors = [projection.tensors(parameters)?, output.tensors(parameters)?];
            let attention = CachedLayer::with_query_bias(gpu, &caches, tensors, content_bias.tensor(parameters)?)?;
            let around = [&layer.attention_residual, &layer.feed_forward_residual];
            CausalLayer::new(parameters, attention, &layer.feed_forward, around)
        });
        let layers = layers.collect::<Result<_>>()?;
        let relative = network.layers.iter().map(|layer| Relative::new(room, parameters, &layer.attention));
        let vocabulary = (&network.words, &network.output);
        Ok(Self {
            steps: CausalSteps::new(room, parameters, vocabulary, caches, layers, config.feed_forward)?,
            heads,
            relative: relative.collect::<Result<_>>()?,
            words: tensor("words", &[rows, config.hidden])?,
            positions: gpu.tensor("positions", [capacity, config.hidden], Dtype::F32, &network.sinusoids(capacity))?,
            queries: tensor("queries", &[rows, heads.width()])?,
            products: tensor("products", &[rows, heads.count, capacity])?,
        })
    }
}

impl Stepper for TransformerXlStepper {
    fn encoder(&self) -> Result<Encoder> {
        Ok(self.steps.encoder())
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.steps.record_start(recorder)?;
        self.relative.iter().try_for_each(|relative| {
            let (capacity, to) = (relative.vectors.shape().rows(), Matrix::rows(&relative.vectors));
            relative.layer.record(recorder, capacity, &self.positions, Activation::None, to)
        })
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let Self { steps, heads, relative, words, queries, products, .. } = self;
        let mut flow = steps.rows.start();
        let root = (words.shape().last() as f32).sqrt();
        Pointwise::Scale(root).record(recorder, words, None, flow.now())?;
        steps.record(recorder, outputs, &mut flow, |recorder, (number, attention), [x, y]| {
            if let Some(relative) = relative.get(number) {
                relative.record_products(recorder, *heads, x, [queries, products])?;
            }
            let bias = Some(Bias::OfRows(products));
            attention.record_onto(recorder, &steps.caches, (step, outputs.counter), bias, [x, y])
        })?;
        steps.record_logits(recorder, &flow, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        self.steps.feed(&self.words)
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        self.steps.record_fed(recorder, state, step)
    }
}
