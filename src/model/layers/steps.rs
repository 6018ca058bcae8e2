//! Layers of attention in the steps of a search: a row for each hypothesis, and memory for what earlier steps have left.

use super::{HeadSizes, LayerNormTensors, LinearTensors, MultiHeadAttention, NormOrder, Residual};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        Step,
        attention_weights::{self, AttentionWeights},
        beam_search::{BeamSearch, BeamState},
        cached_attention::{Bias, Cache, CachedAttention, Segments},
        copy::Copy,
        dot_product_attention::{DotProductAttention, Heads, Inputs, Tile},
        matmul::{Activation, Matrix},
    },
    model::SearchRoom,
};

/// The rows of a step on their way through residual layers.
#[derive(Debug)]
pub struct StepRows {
    /// `[R, D]`, two: normalisation goes from one to the other.
    x: [Tensor; 2],
    /// `[R, D]`, normalised for a layer.
    normed: Tensor,
    /// `[R, 2]`
    statistics: Tensor,
}

/// Where the rows of a step are while its layers are recorded.
#[derive(Debug)]
pub struct Flow<'a> {
    rows: &'a StepRows,
    now: usize,
}

impl StepRows {
    /// Memory for `rows` of `size` features.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, rows: usize, size: usize) -> Result<Self> {
        let tensor = |columns: usize| gpu.zeros("rows of a step", [rows, columns], Dtype::F32);
        Ok(Self { x: [tensor(size)?, tensor(size)?], normed: tensor(size)?, statistics: tensor(2)? })
    }

    /// The rows before the first layer, which is where embedded words go.
    pub fn start(&self) -> Flow<'_> {
        Flow { rows: self, now: 0 }
    }
}

impl<'a> Flow<'a> {
    /// The rows as they are by now, `[R, D]`.
    pub fn now(&self) -> &'a Tensor {
        let [first, second] = &self.rows.x;
        if self.now == 0 { first } else { second }
    }

    /// Records the rows normalised in place of what they were.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit.
    pub fn norm(&mut self, recorder: &mut Recorder, norm: &LayerNormTensors) -> Result<()> {
        let before = self.now();
        self.now = 1 - self.now;
        norm.record(recorder, before, self.now(), &self.rows.statistics)
    }

    /// Records a layer inside its residual connection: `layer` adds its result for its first tensor to its second.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for tensors that do not fit, and the errors of `layer`.
    pub fn around(
        &mut self,
        recorder: &mut Recorder,
        (norm, order): &(LayerNormTensors, NormOrder),
        layer: impl FnOnce(&mut Recorder, &Tensor, &Tensor) -> Result<()>,
    ) -> Result<()> {
        match order {
            NormOrder::Pre => {
                norm.record(recorder, self.now(), &self.rows.normed, &self.rows.statistics)?;
                layer(recorder, &self.rows.normed, self.now())
            }
            NormOrder::Post => {
                layer(recorder, self.now(), self.now())?;
                self.norm(recorder, norm)
            }
        }
    }
}

impl Residual {
    /// The normalisation's tensors and its place.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes.
    pub fn tensors(&self, parameters: &Parameters) -> Result<(LayerNormTensors, NormOrder)> {
        Ok((self.norm.tensors(parameters)?, self.order))
    }
}

/// What the self-attention of all layers shares in a search.
#[derive(Debug)]
pub struct StepCaches {
    attention: CachedAttention,
    /// Each row its own origin, `[R, capacity]`.
    own: Tensor,
    /// The rows that wrote each position of a hypothesis, before steps of even and of odd number, `[R, capacity]`; none where rows
    /// never take each other's place.
    origins: Option<[Tensor; 2]>,
    /// `[R]`
    starts: Tensor,
    /// `[R, 3 N D]`
    projected: Tensor,
    /// `[R, N D]`
    context: Tensor,
    scratch: Tensor,
}

impl StepCaches {
    /// Memory for all steps of a search; a row sees all that is before it, or what `segments` say.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(room: &SearchRoom<'_>, heads: HeadSizes, segments: Option<Segments>) -> Result<Self> {
        Self::behind_zeros(room, heads, segments, 0)
    }

    /// The same, with so many positions before the first whose keys and values are 0.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn behind_zeros(
        room: &SearchRoom<'_>,
        heads: HeadSizes,
        segments: Option<Segments>,
        zeros: usize,
    ) -> Result<Self> {
        let (SearchRoom { gpu, search, .. }, HeadSizes { count, size, scale }) = (*room, heads);
        let (rows, capacity, width) = (search.rows(), zeros + search.capacity, heads.width());
        let attention = CachedAttention { rows, heads: count, size, capacity, scale, segments };
        let tensor = |label: &str, columns: usize| gpu.zeros(label, [rows, columns], Dtype::F32);
        let origins = || gpu.zeros("origins", [rows, capacity], Dtype::U32);
        let own: Vec<_> = (0..rows as u32).flat_map(|row| std::iter::repeat_n(row, capacity)).collect();
        Ok(Self {
            own: gpu.tensor("own origins", [rows, capacity], Dtype::U32, &own)?,
            origins: if search.apart() { None } else { Some([origins()?, origins()?]) },
            starts: gpu.tensor("starts", [rows], Dtype::U32, &vec![zeros as u32; rows])?,
            projected: tensor("projected", 3 * width)?,
            context: tensor("context", width)?,
            scratch: gpu.zeros("parts of contexts", [attention.scratch()], Dtype::F32)?,
            attention,
        })
    }

    /// The most positions of a row, those before the first with them.
    pub fn capacity(&self) -> usize {
        self.attention.capacity
    }

    fn origins(&self, step: usize) -> &Tensor {
        match &self.origins {
            None => &self.own,
            Some([even, _]) if step.is_multiple_of(2) => even,
            Some([_, odd]) => odd,
        }
    }

    /// Records where the rows stand, after tokens and parents have been chosen in a step, or before the first one.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_fed(
        &self,
        recorder: &mut Recorder,
        layer: &CachedLayer,
        state: &BeamState,
        step: Option<usize>,
    ) -> Result<()> {
        let CachedAttention { rows, capacity, .. } = self.attention;
        match (&self.origins, step) {
            (None, _) => Ok(()),
            (Some([even, _]), None) => {
                let copy = Copy { rows, columns: capacity, batch: 1 };
                copy.record(recorder, Matrix::rows(&self.own), None, Matrix::rows(even))
            }
            (Some(_), Some(step)) => {
                let cache = layer.cache(self, &state.counter, step);
                self.attention.record_follow(recorder, &state.parents, &cache, self.origins(step + 1))
            }
        }
    }
}

/// Self-attention of one layer in the steps of a search.
#[derive(Debug)]
pub struct CachedLayer {
    /// To query, key and value side by side.
    projection: LinearTensors,
    /// The layers that the projection is made of, if they are three.
    parts: Vec<LinearTensors>,
    /// What the projection adds to queries alone, `[N D]`, if that is so.
    query_bias: Option<Tensor>,
    output: LinearTensors,
    /// `[R, capacity, N D]`
    key: Tensor,
    /// `[R, capacity, N D]`
    value: Tensor,
}

impl CachedLayer {
    /// A layer that has one projection for query, key and value.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, caches: &StepCaches, [projection, output]: [LinearTensors; 2]) -> Result<Self> {
        let CachedAttention { rows, heads, size, capacity, .. } = caches.attention;
        let cache = |label: &str| gpu.zeros(label, [rows, capacity, heads * size], Dtype::F32);
        let (key, value) = (cache("cached keys")?, cache("cached values")?);
        Ok(Self { projection, parts: Vec::new(), query_bias: None, output, key, value })
    }

    /// A layer that has one projection, to whose queries alone a bias `[N D]` is added before the first step.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn with_query_bias(
        gpu: &Gpu,
        caches: &StepCaches,
        [mut projection, output]: [LinearTensors; 2],
        bias: Tensor,
    ) -> Result<Self> {
        projection.bias = Some(gpu.zeros("projection's bias", [3 * bias.elements()], Dtype::F32)?);
        Ok(Self { query_bias: Some(bias), ..Self::new(gpu, caches, [projection, output])? })
    }

    /// A layer that has three: they are put together before the first step, so that one product serves.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes; [`crate::Error::OutOfMemory`].
    pub fn of_three(
        gpu: &Gpu,
        caches: &StepCaches,
        parameters: &Parameters,
        attention: &MultiHeadAttention,
    ) -> Result<Self> {
        let MultiHeadAttention { query, key, value, output, .. } = attention;
        let parts = [query, key, value].into_iter().map(|part| part.tensors(parameters));
        let parts: Vec<_> = parts.collect::<Result<_>>()?;
        let (width, inputs) = (caches.attention.heads * caches.attention.size, query.weight.shape.last());
        let weight = gpu.zeros("projection", [3 * width, inputs], Dtype::F32)?;
        let bias = match query.bias {
            Some(_) => Some(gpu.zeros("projection's bias", [3 * width], Dtype::F32)?),
            None => None,
        };
        let projection = LinearTensors { weight, bias, by_inputs: false };
        Ok(Self { parts, ..Self::new(gpu, caches, [projection, output.tensors(parameters)?])? })
    }

    /// Records the making of the projection.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        for (number, part) in self.parts.iter().enumerate() {
            let (rows, columns) = (part.weight.shape().rows(), part.weight.shape().last());
            let to = Matrix::rows(&self.projection.weight).offset(number * rows * columns);
            Copy { rows, columns, batch: 1 }.record(recorder, Matrix::rows(&part.weight), None, to)?;
            if let (Some(from), Some(to)) = (&part.bias, &self.projection.bias) {
                let to = Matrix::rows(to).offset(number * rows);
                Copy { rows: 1, columns: rows, batch: 1 }.record(recorder, Matrix::rows(from), None, to)?;
            }
        }
        if let (Some(from), Some(to)) = (&self.query_bias, &self.projection.bias) {
            let copy = Copy { rows: 1, columns: from.elements(), batch: 1 };
            copy.record(recorder, Matrix::rows(from).stride(from.elements()), None, Matrix::rows(to))?;
        }
        Ok(())
    }

    /// Records the layer's result for `x` `[R, D]` added to `y` `[R, D]`, with a bias on its scores.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_onto(
        &self,
        recorder: &mut Recorder,
        caches: &StepCaches,
        (number, counter): (usize, &Tensor),
        bias: Option<Bias<'_>>,
        [x, y]: [&Tensor; 2],
    ) -> Result<()> {
        self.record_projection(recorder, caches, x)?;
        self.record_projected(recorder, caches, (number, counter), bias, y)
    }

    /// Records queries, keys and values of `x` `[R, D]`, which [`Self::record_projected`] goes on from, and returns where the queries
    /// are: R rows of N D elements.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_projection<'a>(
        &self,
        recorder: &mut Recorder,
        caches: &'a StepCaches,
        x: &Tensor,
    ) -> Result<Matrix<'a>> {
        let projected = Matrix::rows(&caches.projected);
        self.projection.record(recorder, caches.attention.rows, x, Activation::None, projected)?;
        Ok(projected)
    }

    /// Records the layer's result for what has been projected added to `y` `[R, D]`, with a bias on its scores.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_projected(
        &self,
        recorder: &mut Recorder,
        caches: &StepCaches,
        (number, counter): (usize, &Tensor),
        bias: Option<Bias<'_>>,
        y: &Tensor,
    ) -> Result<()> {
        let StepCaches { attention, projected, context, scratch, .. } = caches;
        let CachedAttention { rows, heads, size, .. } = *attention;
        let part = |number: usize| Matrix::rows(projected).offset(number * heads * size);
        let cache = self.cache(caches, counter, number);
        attention.record_append(recorder, part(1), part(2), &cache)?;
        attention.record(recorder, part(0), bias, &cache, [scratch, context])?;
        self.output.record_onto(recorder, rows, context, y)
    }

    fn cache<'a>(&'a self, caches: &'a StepCaches, counter: &'a Tensor, step: usize) -> Cache<'a> {
        let (key, value, starts) = (&self.key, &self.value, &caches.starts);
        Cache { key, value, origins: caches.origins(step), starts, counter, step }
    }
}

/// What the attention of all layers to the source shares in a search.
#[derive(Debug)]
pub struct SourceRows {
    attention: DotProductAttention,
    /// `[sentences, K, N D]`, K rows of each.
    query: Tensor,
    /// `[sentences, K, N D]`
    context: Tensor,
    /// `[sentences, N, K]`
    log_sum_exp: Tensor,
    /// Of no training step: nothing is dropped.
    step: Tensor,
}

impl SourceRows {
    /// Memory for the steps of a search.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn new(room: &SearchRoom<'_>, heads: HeadSizes) -> Result<Self> {
        let SearchRoom { gpu, search: BeamSearch { sentences, beam, .. }, keys, .. } = *room;
        let (HeadSizes { count: heads, size, scale }, width) = (heads, heads.width());
        let tensor = |label: &str, shape: [usize; 3]| gpu.zeros(label, shape, Dtype::F32);
        Ok(Self {
            attention: DotProductAttention {
                batch: sentences,
                heads,
                queries: beam,
                keys,
                size,
                causal: false,
                scale,
                dropout: None,
            },
            query: tensor("query", [sentences, beam, width])?,
            context: tensor("context", [sentences, beam, width])?,
            log_sum_exp: tensor("log sum exp", [sentences, heads, beam])?,
            step: Step::buffer(gpu)?,
        })
    }
}

impl SourceRows {
    /// Where the queries of a step belong, `[sentences, K, N D]`.
    pub fn query(&self) -> &Tensor {
        &self.query
    }

    /// The contexts that a step has made, `[sentences, K, N D]`.
    pub fn context(&self) -> &Tensor {
        &self.context
    }

    /// Records the contexts of the queries among `key` and `value`, each `[sentences, S, N D]`.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record(&self, recorder: &mut Recorder, [key, value]: [&Tensor; 2], lengths: &Tensor) -> Result<()> {
        let Self { attention, query, context, log_sum_exp, step } = self;
        let heads = |tensor| Heads::side_by_side(tensor, 0, attention.size);
        let inputs = Inputs { query: heads(query), key: heads(key), value: heads(value), lengths, bias: None, step };
        let tile = Tile::choose(recorder.gpu(), attention.size);
        attention.record(recorder, tile, &inputs, heads(context), log_sum_exp)
    }

    /// Records the mean over heads of the weights `[R, S]` that have made the last contexts.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_weights(
        &self,
        recorder: &mut Recorder,
        key: &Tensor,
        lengths: &Tensor,
        weights: Matrix<'_>,
    ) -> Result<()> {
        let Self { attention, query, log_sum_exp, .. } = self;
        let DotProductAttention { batch, heads, queries, keys, size, scale, .. } = *attention;
        let side_by_side = |tensor| Heads::side_by_side(tensor, 0, size);
        let (query, key) = (side_by_side(query), side_by_side(key));
        let inputs = attention_weights::Inputs { query, key, lengths, log_sum_exp };
        AttentionWeights { batch, heads, queries, keys, size, scale }.record(recorder, &inputs, weights)
    }
}

/// Attention of one layer to the source, in the steps of a search.
#[derive(Debug)]
pub struct SourceLayer {
    query: LinearTensors,
    output: LinearTensors,
    /// `[sentences, S, N D]`, which the encoder's graph leaves there.
    pub key: Tensor,
    /// `[sentences, S, N D]`, likewise.
    pub value: Tensor,
}

impl SourceLayer {
    /// A layer with memory for its keys and values.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the parameters lack one of the layer's names and shapes; [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, rows: &SourceRows, parameters: &Parameters, attention: &MultiHeadAttention) -> Result<Self> {
        let DotProductAttention { batch, heads, keys, size, .. } = rows.attention;
        let tensor = |label: &str| gpu.zeros(label, [batch, keys, heads * size], Dtype::F32);
        Ok(Self {
            query: attention.query.tensors(parameters)?,
            output: attention.output.tensors(parameters)?,
            key: tensor("key")?,
            value: tensor("value")?,
        })
    }

    /// Records the layer's result for `x` `[R, D]` added to `y` `[R, D]`.
    ///
    /// # Errors
    /// The errors of the kernels.
    pub fn record_onto(
        &self,
        recorder: &mut Recorder,
        rows: &SourceRows,
        lengths: &Tensor,
        [x, y]: [&Tensor; 2],
    ) -> Result<()> {
        let count = rows.attention.batch * rows.attention.queries;
        self.query.record(recorder, count, x, Activation::None, Matrix::rows(rows.query()))?;
        rows.record(recorder, [&self.key, &self.value], lengths)?;
        self.output.record_onto(recorder, count, rows.context(), y)
    }
}
