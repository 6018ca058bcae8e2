//! The model's steps in a search. Keys and values of the text so far stay in caches, and a step sees those of its segment and of the
//! memory before it.

use super::{Layer, TransformerXl};
use crate::{
    Error, Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        cached_attention::{Bias, Segments},
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
        pointwise::Pointwise,
    },
    model::{
        CachedLayer, Encoder, FeedForwardRows, FeedForwardTensors, HeadSizes, LayerNormTensors, Layers, LinearTensors,
        NormOrder, SearchRoom, StepCaches, StepOutputs, StepRows, Stepper,
    },
};

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct TransformerXlStepper {
    network: TransformerXl,
    search: BeamSearch,
    table: Tensor,
    layers: Vec<StepLayer>,
    output: LinearTensors,
    caches: StepCaches,
    rows: StepRows,
    /// `[R, D]`
    words: Tensor,
    between: FeedForwardRows,
    /// Sinusoids of distances, `[capacity, D]`.
    positions: Tensor,
    /// Queries to be compared with distances, `[R, N·D]`.
    queries: Tensor,
    /// Their products, `[R, N, capacity]`.
    products: Tensor,
}

/// One layer.
#[derive(Debug)]
struct StepLayer {
    attention: CachedLayer,
    /// To query, key and value side by side, `[3·N·D, D]`.
    projection: Tensor,
    /// `[N, D]`, added to a query for distances.
    position_bias: Tensor,
    relative: LinearTensors,
    /// What queries are compared with for each distance, `[capacity, N·D]`.
    vectors: Tensor,
    attention_norm: (LayerNormTensors, NormOrder),
    feed_forward: FeedForwardTensors,
    feed_forward_norm: (LayerNormTensors, NormOrder),
}

impl StepLayer {
    fn new(gpu: &Gpu, parameters: &Parameters, caches: &StepCaches, layer: &Layer, capacity: usize) -> Result<Self> {
        let attention = &layer.attention;
        let [projection, output] = [attention.projection.tensors(parameters)?, attention.output.tensors(parameters)?];
        let weight = projection.weight.clone();
        let content_bias = attention.content_bias.tensor(parameters)?;
        Ok(Self {
            attention: CachedLayer::with_query_bias(gpu, caches, [projection, output], content_bias)?,
            projection: weight,
            position_bias: attention.position_bias.tensor(parameters)?,
            relative: attention.relative.tensors(parameters)?,
            vectors: gpu.zeros("vectors", [capacity, attention.heads.width()], Dtype::F32)?,
            attention_norm: layer.attention_residual.tensors(parameters)?,
            feed_forward: layer.feed_forward.tensors(parameters)?,
            feed_forward_norm: layer.feed_forward_residual.tensors(parameters)?,
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
        let layers = network.layers.iter().map(|layer| StepLayer::new(gpu, parameters, &caches, layer, capacity));
        Ok(Self {
            table: network.words.weight.tensor(parameters)?,
            layers: layers.collect::<Result<_>>()?,
            output: network.output.tensors(parameters)?,
            caches,
            rows: StepRows::new(gpu, rows, config.hidden)?,
            words: tensor("words", &[rows, config.hidden])?,
            between: FeedForwardRows::new(gpu, rows, config.feed_forward, false)?,
            positions: gpu.tensor("positions", [capacity, config.hidden], Dtype::F32, &network.sinusoids(capacity))?,
            queries: tensor("queries", &[rows, heads.width()])?,
            products: tensor("products", &[rows, heads.count, capacity])?,
            network: network.clone(),
            search,
        })
    }
}

impl Stepper for TransformerXlStepper {
    /// There is nothing to read: every text begins alike.
    fn encoder(&self) -> Result<Encoder> {
        let mut graph = Layers::new().graph;
        let lengths = graph.counts([self.search.sentences], 1);
        Ok(Encoder { graph, lengths, state: None, kept: Vec::new() })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        self.layers.iter().try_for_each(|layer| {
            layer.attention.record_start(recorder)?;
            let (capacity, to) = (self.search.capacity, Matrix::rows(&layer.vectors));
            layer.relative.record(recorder, capacity, &self.positions, Activation::None, to)
        })
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        if outputs.weights.is_some() {
            return Err(Error::data("an alignment", "needs a source to attend to, and this architecture has none"));
        }
        let (config, mut flow) = (&self.network.config, self.rows.start());
        let root = (config.hidden as f32).sqrt();
        Pointwise::Scale(root).record(recorder, &self.words, None, flow.now())?;
        for layer in &self.layers {
            flow.around(recorder, &layer.attention_norm, |recorder, x, y| {
                layer.record_products(recorder, config.heads(), x, [&self.queries, &self.products])?;
                let bias = Some(Bias::OfRows(&self.products));
                layer.attention.record_onto(recorder, &self.caches, (step, outputs.counter), bias, [x, y])
            })?;
            flow.around(recorder, &layer.feed_forward_norm, |recorder, x, y| {
                layer.feed_forward.record_onto(recorder, x, &self.between, y)
            })?;
        }
        self.output.record(recorder, self.search.rows(), flow.now(), Activation::None, outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.hidden,
            words: &self.table,
            word_rows: Matrix::rows(&self.words),
            gates: None,
            states: None,
        }
    }

    fn record_fed(&self, recorder: &mut Recorder, state: &BeamState, step: Option<usize>) -> Result<()> {
        // One table serves the caches of all layers.
        self.layers.first().map_or(Ok(()), |layer| self.caches.record_fed(recorder, &layer.attention, state, step))
    }
}
