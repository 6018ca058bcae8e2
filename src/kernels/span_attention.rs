//! Attention over a span that each head learns: Sukhbaatar, Grave, Bojanowski and Joulin, "Adaptive Attention Span in Transformers"
//! (2019), section 2. A query sees the positions behind its own by what they hold and by the vector of their distance, as far as its
//! head's mask reaches: time goes with queries x spans, and nothing of size queries x keys is stored.

use super::{
    by_distance::{self, Walk, specialisations},
    dot_product_attention::{DotProductAttention, Heads, LARGEST_SIZE},
    expect::{expect_apart, expect_dtype, expect_extents, expect_matrix, expect_of, expect_scratch, expect_setting},
    forms,
    library::shader,
    matrix::Matrix,
    reduction::ColumnSum,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static SPAN_ATTENTION: Shader = shader!("span_attention", specialisations);
pub(super) static SPAN_ATTENTION_BACKWARD: Shader = shader!("span_attention_backward", specialisations);
pub(super) static SPAN_ATTENTION_BIAS: Shader = shader!("span_attention/bias", elements);
pub(super) static SPAN_ATTENTION_DELTA_BACKWARD: Shader = shader!("span_attention/delta_backward", elements);
pub(super) static SPAN_ATTENTION_DISTANCES_BACKWARD: Shader =
    shader!("span_attention/distances_backward", specialisations);
pub(super) static SPAN_ATTENTION_KEYS_BACKWARD: Shader = shader!("span_attention/keys_backward", specialisations);

const NAME: &str = "span_attention";

/// ```text
/// place[t]          = t + S - T
/// score[b, n, t, x] = query[b, n, t] · (key[b, n, place[t] - x] + position[x]) * scale         x = 1 .. L
/// mask[n, x]        = min(max((ramp + spans[n] - x) / ramp, 0), 1)
/// weight            = mask * exp(score) / sum over x' of mask * exp(score)
/// context[b, n, t]  = sum over x of weight[b, n, t, x] * value[b, n, place[t] - x]
/// ```
///
/// Equations 4 and 5 of the paper. The last T keys are those of the queries' own places, those before them a memory. Before the first
/// key there are keys and values of zero, which are seen like any others. A head whose mask is 0 everywhere has contexts of zero and
/// passes no gradient on; where a mask is just 0 or 1, its derivative is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T: at most S.
    pub queries: usize,
    /// Keys per head, S.
    pub keys: usize,
    /// Size of a head, D: at most [`LARGEST_SIZE`].
    pub size: usize,
    /// The longest distance, L.
    pub limit: usize,
    /// The distances over which a mask falls from 1 to 0: above 0.
    pub ramp: f32,
    /// What scores are multiplied with.
    pub scale: f32,
}

/// What attention reads: all of one type, but the parameters f32.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, N·D]`
    pub query: &'a Tensor,
    /// `[B, S, N·D]`
    pub key: &'a Tensor,
    /// `[B, S, N·D]`
    pub value: &'a Tensor,
    /// `[L, D]`, f32: the vector of each distance, from 1 on.
    pub position: &'a Tensor,
    /// `[N]`, f32: each head's span, in positions.
    pub spans: &'a Tensor,
}

/// What the backward reads besides the inputs, and the scratch that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// `[B, T, N·D]`, from the forward.
    pub context: &'a Tensor,
    /// `[B, N, T]`, from the forward.
    pub log_sum_exp: &'a Tensor,
    /// `[B, T, N·D]`, the gradient of the context.
    pub d_context: &'a Tensor,
    /// Scratch, as large as [`SpanAttention::scratch`] says.
    pub scratch: [&'a Tensor; 4],
}

/// What the backward writes, each in the shape of its input.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, N·D]`
    pub query: &'a Tensor,
    /// `[B, S, N·D]`
    pub key: &'a Tensor,
    /// `[B, S, N·D]`
    pub value: &'a Tensor,
    /// `[L, D]`
    pub position: &'a Tensor,
    /// `[N]`
    pub spans: &'a Tensor,
}

impl SpanAttention {
    /// Pairs of a query and a distance, products of vectors with each; spans as long as they can be, since how long they are is known
    /// only on the device.
    fn cost_of(&self, products: f64, dtype: Dtype) -> Cost {
        let Self { batch, heads, queries, keys, size, limit, .. } = *self;
        let pairs = product(&[batch, heads, queries, limit]) as f64;
        let bytes = dtype.bytes() as f64 * (batch * heads * size) as f64;
        Cost {
            operations: pairs * (2.0 * products * size as f64 + 9.0),
            transcendental: pairs,
            read: bytes * (2 * queries + 2 * keys) as f64 + ELEMENT as f64 * (limit * size) as f64,
            written: bytes * queries as f64,
        }
    }

    /// Operations and bytes of the forward pass.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        self.cost_of(3.0, dtype)
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.cost_of(5.0, dtype);
        cost += self.cost_of(5.0, dtype);
        cost += self.cost_of(4.0, dtype);
        cost
    }

    /// Elements of each scratch in [`Saved`]: statistics of queries, the parts that rows and heads have in the gradients of positions
    /// and of spans, and sums of such parts.
    pub fn scratch(&self) -> [usize; 4] {
        let Self { batch, heads, queries, size, limit, .. } = *self;
        let [positions, spans] = self.sums();
        [
            product(&[2, heads, batch * queries + 1]),
            product(&[batch, heads, limit, size]),
            product(&[batch, heads, limit]),
            positions.scratch().max(spans.scratch()),
        ]
    }

    fn sums(&self) -> [ColumnSum; 2] {
        let Self { batch, heads, size, limit, .. } = *self;
        [
            ColumnSum { rows: batch * heads, columns: product(&[limit, size]) },
            ColumnSum { rows: product(&[batch, limit]), columns: heads },
        ]
    }

    fn of_queries(&self) -> [usize; 3] {
        [self.batch, self.queries, self.heads * self.size]
    }

    fn of_keys(&self) -> [usize; 3] {
        [self.batch, self.keys, self.heads * self.size]
    }

    /// Records the forward: `context` `[B, T, N·D]` of the inputs' type, and `log_sum_exp` `[B, N, T]`, f32, the logarithm of each
    /// query's denominator.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements or a setting is out of its range,
    /// [`crate::Error::Limit`] if the spans are longer than the driver can walk, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        context: &Tensor,
        log_sum_exp: &Tensor,
    ) -> Result<()> {
        let dtype = self.check(inputs)?;
        expect_of(dtype, NAME, "context", context, &self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[self.batch, self.heads, self.queries])?;
        let Inputs { query, key, value, position, spans } = *inputs;
        let forward = Walk {
            kernel: &SPAN_ATTENTION,
            owned: self.lines(self.queries),
            walked: [1, self.limit],
            heads: &[query, key, value, context].map(|tensor| self.side_by_side(tensor)),
            tensors: &[query, key, value, position, spans, context, log_sum_exp],
            cost: self.cost(dtype),
        };
        self.launch(recorder, &forward)
    }

    /// Records the backward: the statistics of each query, passes that own queries, keys, and distances in each row and head, and the
    /// sums over these. No sum crosses workgroups, so the same inputs give the same bits.
    ///
    /// # Errors
    /// As [`SpanAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let dtype = self.check(inputs)?;
        let Inputs { query, key, value, position, spans } = *inputs;
        let Saved { d_context, scratch: [statistics, of_positions, of_spans, sums], .. } = *saved;
        let Gradients { query: d_query, key: d_key, value: d_value, position: d_position, spans: d_spans } = *gradients;
        for (argument, gradient, input) in [
            ("d_query", d_query, query),
            ("d_key", d_key, key),
            ("d_value", d_value, value),
            ("d_position", d_position, position),
            ("d_spans", d_spans, spans),
        ] {
            expect_of(input.dtype(), NAME, argument, gradient, input.shape().dims())?;
        }
        expect_apart(NAME, &[("d_key", d_key), ("d_value", d_value)])?;
        for (scratch, elements) in saved.scratch.into_iter().zip(self.scratch()) {
            expect_scratch(NAME, scratch, elements)?;
        }
        self.record_delta(recorder, spans, saved, dtype)?;
        let read = [query, key, value, position, d_context, statistics];
        let of_read = [query, key, value, d_context].map(|tensor| self.side_by_side(tensor));
        let [of_query, of_key, of_value] = [d_query, d_key, d_value].map(|tensor| self.side_by_side(tensor));
        let [of_queries, of_keys, of_distances] = [self.queries, self.keys, self.limit].map(|rows| self.lines(rows));
        for (kernel, owned, walked, heads, written, products) in [
            (&SPAN_ATTENTION_BACKWARD, of_queries, self.limit, [of_query; 2], &[d_query][..], 5.0),
            (
                &SPAN_ATTENTION_KEYS_BACKWARD,
                of_keys,
                self.limit.min(self.queries),
                [of_key, of_value],
                &[d_key, d_value],
                5.0,
            ),
            // Its parts have heads of their own.
            (
                &SPAN_ATTENTION_DISTANCES_BACKWARD,
                of_distances,
                self.queries,
                [of_query; 2],
                &[of_positions, of_spans],
                4.0,
            ),
        ] {
            let heads = &[of_read.as_slice(), &heads].concat();
            let tensors = &[&read, written].concat();
            let walk = Walk { kernel, owned, walked: [1, walked], heads, tensors, cost: self.cost_of(products, dtype) };
            self.launch(recorder, &walk)?;
        }
        let [positions, spans] = self.sums();
        positions.record(recorder, of_positions, sums, d_position)?;
        spans.record(recorder, of_spans, sums, d_spans)
    }

    fn record_delta(&self, recorder: &mut Recorder, spans: &Tensor, saved: &Saved<'_>, dtype: Dtype) -> Result<()> {
        let Self { batch, heads, queries, size, .. } = *self;
        let Saved { context, log_sum_exp, d_context, scratch: [statistics, ..] } = *saved;
        expect_of(dtype, NAME, "context", context, &self.of_queries())?;
        expect_of(dtype, NAME, "d_context", d_context, &self.of_queries())?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[batch, heads, queries])?;
        let tiles = *recorder.gpu().tiles();
        let rows = batch * heads * queries;
        let elements = (rows * size) as f64;
        recorder.launch(&Launch {
            kernel: &SPAN_ATTENTION_DELTA_BACKWARD,
            specialisation: forms::workgroup(&tiles).element(dtype),
            params: &[batch, heads, queries, size].map(|size| size as u32),
            tensors: &[context, d_context, log_sum_exp, spans, statistics],
            workgroups: grid(rows.div_ceil(tiles.workgroup as usize)),
            cost: Cost {
                operations: 2.0 * elements,
                transcendental: 0.0,
                read: 2.0 * elements * dtype.bytes() as f64 + ELEMENT as f64 * rows as f64,
                written: 2.0 * ELEMENT as f64 * rows as f64,
            },
        })
    }

    fn launch(&self, recorder: &mut Recorder, walk: &Walk<'_>) -> Result<()> {
        let what = format!("{NAME} of {} queries, up to {} positions back", self.queries, self.limit);
        let settings = [self.limit as u32, self.ramp.to_bits(), self.scale.to_bits()];
        let advice = "Use shorter spans or segments, or a GPU.";
        by_distance::launch(recorder, &self.plain(), walk, &settings, [&what, advice])
    }

    /// The attention whose heads lie alike.
    fn plain(&self) -> DotProductAttention {
        let Self { batch, heads, queries, keys, size, scale, .. } = *self;
        DotProductAttention { batch, heads, queries, keys, size, causal: true, scale, dropout: None }
    }

    /// What the workgroups of a pass own: so many rows of each head.
    fn lines(&self, rows: usize) -> [usize; 2] {
        [self.batch * self.heads, rows]
    }

    fn side_by_side<'a>(&self, tensor: &'a Tensor) -> Heads<'a> {
        Heads::side_by_side(tensor, 0, self.size)
    }

    /// Records what [`super::cached_attention`] adds to the scores of a step, multiplied with its scale like them, so that its weights
    /// are these: `bias` `[R, N, capacity]`, f32, by distance, for queries that are R rows of N·D elements. Distances past L are left
    /// as they are, and distance 0, a position itself, is not seen. Batch, queries and keys do not count.
    ///
    /// # Errors
    /// As [`SpanAttention::record`].
    pub fn record_bias(
        &self,
        recorder: &mut Recorder,
        query: Matrix<'_>,
        [position, spans]: [&Tensor; 2],
        bias: &Tensor,
    ) -> Result<()> {
        let Self { heads, size, limit, ramp, scale, .. } = *self;
        let [rows, capacity] = [bias.shape().rows() / heads.max(1), bias.shape().last()];
        self.check_parameters([position, spans])?;
        expect_extents(NAME, &[("heads", heads), ("size", size), ("rows", rows)])?;
        expect_matrix(NAME, "query", &query, [1, rows, heads * size])?;
        let dtype = query.tensor.dtype().activation();
        expect_dtype(dtype, NAME, "query", query.tensor)?;
        expect_of(Dtype::F32, NAME, "bias", bias, &[rows, heads, capacity])?;
        expect_setting(NAME, "capacity", capacity > limit, "more than the longest distance", capacity as f64)?;
        let what = || format!("{NAME} with heads of {size}");
        expect_rounds(recorder.gpu(), size, what, "Use smaller heads, or a GPU.")?;
        let elements = product(&[rows, heads, limit + 1]);
        let tiles = *recorder.gpu().tiles();
        let words = [rows, heads, size, limit, capacity, query.offset, query.stride].map(|word| word as u32);
        recorder.launch(&Launch {
            kernel: &SPAN_ATTENTION_BIAS,
            specialisation: forms::workgroup(&tiles).element(dtype),
            params: &[&words[..], &[ramp.to_bits(), scale.to_bits()]].concat(),
            tensors: &[query.tensor, position, spans, bias],
            workgroups: grid(elements.div_ceil(tiles.workgroup as usize)),
            cost: Cost {
                operations: (2 * elements * size) as f64,
                transcendental: elements as f64,
                read: ((rows * heads * dtype.bytes() as usize + limit * ELEMENT as usize) * size) as f64,
                written: ELEMENT as f64 * elements as f64,
            },
        })
    }

    fn check_parameters(&self, [position, spans]: [&Tensor; 2]) -> Result<()> {
        let wanted = "above 0, and finite";
        expect_setting(NAME, "ramp", self.ramp > 0.0 && self.ramp.is_finite(), wanted, f64::from(self.ramp))?;
        expect_of(Dtype::F32, NAME, "position", position, &[self.limit, self.size])?;
        expect_of(Dtype::F32, NAME, "spans", spans, &[self.heads])
    }

    fn check(&self, inputs: &Inputs<'_>) -> Result<Dtype> {
        let Self { batch, heads, queries, keys, size, .. } = *self;
        expect_extents(NAME, &[("batch", batch), ("heads", heads), ("queries", queries), ("size", size)])?;
        expect_setting(NAME, "keys", keys >= queries, "at least as many keys as queries", keys as f64)?;
        let wanted = format!("at most {LARGEST_SIZE}");
        expect_setting(NAME, "size of a head", size <= LARGEST_SIZE, &wanted, size as f64)?;
        let dtype = inputs.query.dtype().activation();
        expect_of(dtype, NAME, "query", inputs.query, &self.of_queries())?;
        expect_of(dtype, NAME, "key", inputs.key, &self.of_keys())?;
        expect_of(dtype, NAME, "value", inputs.value, &self.of_keys())?;
        self.check_parameters([inputs.position, inputs.spans])?;
        Ok(dtype)
    }
}

fn elements(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::workgroup(tiles).element(dtype))
}
