//! Additive attention: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate" (2015),
//! section 3.1 and appendix A.1.2, with query and key already projected. Scores, softmax and weighted sum are one dispatch, and
//! nothing of size B·T·S·A exists in either direction.
//!
//! The backward comes in two halves: [`AdditiveAttention::record_backward_query`] for the queries, of which a recurrent decoder may
//! have one at a time, and [`AdditiveAttention::record_backward_key`] for the keys, once for all queries.
//! [`AdditiveAttention::record_backward`] does both, from one evaluation of tanh where that pays.
//!
//! Rungs, in ms on lavapipe at (B, T, S, A = V) = (8, 128, 128, 512), per dispatch and on a shared machine:
//!
//! | what changed | forward | gradient of scores | of queries and keys |
//! |---|---|---|---|
//! | 16 rows, a loop over DEPTH = 1 that the driver does not unroll, so that arrays leave the registers | 17.9 | 3.8 | 23.9 |
//! | no such loop, 32 rows | 9.8 | 2.8 | 17.2 |
//! | queries and keys from one evaluation, the queries' sums kept in memory | 9.8 | 2.8 | 12 |
//!
//! One query, 128 rows of 12 keys, A = 256, V = 512: lanes that share out elements instead of keys leave none idle: 1.25 to 0.92
//! forward. No gain seen: four elements to a division, the energy vector spread over the lanes. Lost: 64 rows, 7 times slower.

mod behind_scores;
mod tile;

pub(super) use behind_scores::{Scored, ScoredGradients};
pub use tile::Tile;
pub(super) use tile::keys_of_one_query;
use tile::{backwards, both_backwards, energy_backwards, forwards, score_backwards};

use super::{
    expect::{expect_apart, expect_dtype, expect_extents, expect_matrix, expect_of, expect_scratch, expect_tile},
    library::shader,
    matmul::{self, Matmul, Matrix, Operands},
    rounds::{MOST_ROUNDS, expect_rounds},
};
use crate::{
    Result,
    gpu::{AdapterClass, Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Tensor, product},
};

pub(super) static ADDITIVE_ATTENTION: Shader = shader!("additive_attention", forwards);
pub(super) static ADDITIVE_ATTENTION_BACKWARD: Shader = shader!("additive_attention_backward", backwards);
pub(super) static ADDITIVE_ATTENTION_BOTH_BACKWARD: Shader =
    shader!("additive_attention/both_backward", both_backwards);
pub(super) static ADDITIVE_ATTENTION_ENERGY_BACKWARD: Shader =
    shader!("additive_attention/energy_backward", energy_backwards);
pub(super) static ADDITIVE_ATTENTION_SCORE_BACKWARD: Shader =
    shader!("additive_attention/score_backward", score_backwards);

const OPERATION: &str = "additive_attention";

/// Rows of keys that a workgroup of the keys' side takes at least: the size of the scratch depends on it.
const KEY_ROWS: usize = 4;

/// `context = softmax(energy · tanh(query + key)) · value` over the valid keys of each row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditiveAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Queries per row, T.
    pub queries: usize,
    /// Keys per row, S, masked ones included.
    pub keys: usize,
    /// Size of the projected queries and keys, A.
    pub size: usize,
    /// Size of a value and of a context, V.
    pub value_size: usize,
}

/// What [`AdditiveAttention`] reads. Keys and values at and past a row's length are never read.
///
/// Query, key and value, the context and the gradients of all of them are of one type, which may be f16. All else is f32: the
/// energy vector and its gradient, and whatever belongs to single scores, because that is where a softmax and the differences that
/// its gradient is made of would lose most, and it is small beside the rest.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, A]`, projected.
    pub query: Matrix<'a>,
    /// `[B, S, A]`, projected, its bias included.
    pub key: &'a Tensor,
    /// `[A]`, the paper's vector v.
    pub energy: &'a Tensor,
    /// `[B, S, V]`.
    pub value: &'a Tensor,
    /// `[B]`, u32: how many keys of each row are valid.
    pub lengths: &'a Tensor,
}

impl<'a> Inputs<'a> {
    /// The type of query, key and value.
    fn dtype(&self) -> Dtype {
        self.value.dtype().activation()
    }

    fn scored(&self) -> Scored<'a> {
        let Self { query, key, energy, lengths, .. } = *self;
        Scored { query, key, energy, lengths }
    }
}

/// The inputs of the backward, and the gradient of the scores, which its first half leaves to the second.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The forward's.
    pub inputs: Inputs<'a>,
    /// The forward's, `[B, T, S]`.
    pub weights: Matrix<'a>,
    /// `[B, T, V]`.
    pub d_context: Matrix<'a>,
    /// `[B, T, S]`, if the weights themselves are used; what it holds at masked keys has no effect. The second half does without.
    pub d_weights: Option<Matrix<'a>>,
    /// `[B, T, S]`, the gradient of the scores, 0 where masked: written by the first half.
    pub d_energy: Matrix<'a>,
}

/// The outputs of [`AdditiveAttention::record_backward`].
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, A]`.
    pub query: Matrix<'a>,
    /// The outputs of [`AdditiveAttention::record_backward_key`].
    pub of_keys: KeyGradients<'a>,
}

/// The outputs of [`AdditiveAttention::record_backward_key`].
#[derive(Clone, Copy, Debug)]
pub struct KeyGradients<'a> {
    /// `[B, S, A]`.
    pub key: &'a Tensor,
    /// `[A]`, of the paper's vector v.
    pub energy: &'a Tensor,
    /// `[B, S, V]`.
    pub value: &'a Tensor,
}

fn word(value: usize) -> u32 {
    value as u32
}

fn words(matrix: &Matrix<'_>) -> [u32; 3] {
    [word(matrix.offset), word(matrix.stride), word(matrix.batch_stride)]
}

impl AdditiveAttention {
    /// Operations and bytes of the forward.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: b * t * s * (5.0 * a + 2.0 * v),
            transcendental: b * (t * s * (0.5 * a + 1.0) + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v),
            written: bytes * b * t * v,
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward_query`].
    pub fn cost_backward_query(&self, dtype: Dtype) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let (bytes, scores) = (dtype.bytes() as f64, ELEMENT as f64 * b * t * s);
        Cost {
            operations: b * t * s * (8.0 * a + 2.0 * v),
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v + t * v) + scores,
            written: bytes * b * t * a + scores,
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward`], less the product for `d_value`, which counts itself.
    pub fn cost_backward(&self, dtype: Dtype) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let (bytes, scores) = (dtype.bytes() as f64, ELEMENT as f64 * b * t * s);
        Cost {
            operations: b * t * s * (11.0 * a + 2.0 * v),
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v + t * v) + scores,
            written: bytes * b * (t * a + s * a) + scores,
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward_key`], less the product for `d_value`, which counts itself.
    pub fn cost_backward_key(&self, dtype: Dtype) -> Cost {
        let [b, t, s, a, _] = self.extents();
        let (bytes, scores) = (dtype.bytes() as f64, ELEMENT as f64 * b * t * s);
        Cost {
            operations: b * t * s * 9.0 * a,
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a) + scores,
            written: bytes * b * s * a,
        }
    }

    fn extents(&self) -> [f64; 5] {
        [self.batch, self.queries, self.keys, self.size, self.value_size].map(|extent| extent as f64)
    }

    /// Elements of the scratch that [`AdditiveAttention::record_backward_key`] wants.
    pub fn scratch(&self) -> usize {
        product(&[self.batch, self.keys.div_ceil(KEY_ROWS), self.size])
    }

    fn check_inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Self { batch, queries, keys, size, value_size } = *self;
        expect_extents(OPERATION, &[("batch", batch), ("queries", queries), ("keys", keys)])?;
        let dtype = inputs.dtype();
        self.check_matrix("query", &inputs.query, size, dtype)?;
        expect_of(dtype, OPERATION, "key", inputs.key, &[batch, keys, size])?;
        expect_of(Dtype::F32, OPERATION, "energy", inputs.energy, &[size])?;
        expect_of(dtype, OPERATION, "value", inputs.value, &[batch, keys, value_size])?;
        expect_of(Dtype::U32, OPERATION, "lengths", inputs.lengths, &[batch])
    }

    /// A matrix `[B, T, columns]` within its tensor.
    fn check_matrix(&self, argument: &'static str, matrix: &Matrix<'_>, columns: usize, dtype: Dtype) -> Result<()> {
        expect_matrix(OPERATION, argument, matrix, [self.batch, self.queries, columns])?;
        expect_dtype(dtype, OPERATION, argument, matrix.tensor)
    }

    /// Checks that there is a form for the tile, and that the driver goes through its rounds: the scores' and the context's loops,
    /// doubled for a tile that is done again outside the factored tanh's domain, and doubled again for staging, and the two loops
    /// of the backward's means; checked modules keep the loops over rows and keys.
    pub(super) fn check_tile(&self, gpu: &Gpu, tile: Tile) -> Result<()> {
        expect_tile(gpu, tile, Tile::of(gpu.tiles(), self.queries, self.keys))?;
        let lanes = tile.lanes as usize;
        let scores = self.rounds(&tile, self.size);
        let context = self.context_rounds(&tile);
        let inner = if gpu.checked() { (tile.rows * (tile.keys + 1)).max(4) as usize } else { 4 };
        let means = 2 * tile.rows.div_ceil(4) as usize * self.keys.div_ceil(lanes) * if gpu.checked() { 5 } else { 1 };
        self.expect_rounds(gpu, (scores + context) * inner + means)
    }

    /// Rounds of a workgroup that makes a product of all queries and keys over `size` columns.
    fn rounds(&self, tile: &Tile, size: usize) -> usize {
        let (lanes, keys) = (tile.lanes as usize, tile.keys as usize);
        match tile.rows {
            1 => self.keys.div_ceil(keys) * size.div_ceil(4 * lanes),
            _ => self.keys.max(self.queries).div_ceil(lanes * keys) * size.div_ceil(4),
        }
    }

    /// Rounds of a workgroup that makes contexts.
    fn context_rounds(&self, tile: &Tile) -> usize {
        self.value_size.div_ceil((4 * tile.lanes * tile.columns) as usize) * self.keys.div_ceil(4)
    }

    fn expect_rounds(&self, gpu: &Gpu, need: usize) -> Result<()> {
        let what = || format!("{OPERATION} of {} queries over {} keys of size {}", self.queries, self.keys, self.size);
        expect_rounds(gpu, need, what, "Use shorter sequences, kernels without checks, or a GPU.")
    }

    /// How many keys one dispatch for both sides takes, in whole tiles: each walks over all queries, and four keys at a time
    /// where it comes out of the factored tanh's domain.
    fn keys_of_a_dispatch(&self, gpu: &Gpu, tile: Tile) -> Result<usize> {
        let rows = tile.key_rows as usize;
        let inner = if gpu.checked() { rows + 4 } else { 1 };
        let of_tile = self.queries * (inner + rows / 4 * inner.min(5)) + 4 * rows;
        self.expect_rounds(gpu, of_tile + self.queries)?;
        let on_cpu = (MOST_ROUNDS.saturating_sub(self.queries)) / of_tile * rows;
        Ok(if gpu.class() == AdapterClass::Cpu { on_cpu } else { self.keys })
    }

    /// Records the forward: `context` `[B, T, V]` and, if wanted, `weights` `[B, T, S]`, 0 where masked. Both are 0 in a row
    /// without valid keys. Without `weights` nothing of size T·S exists.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        context: Matrix<'_>,
        weights: Option<Matrix<'_>>,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        self.check_tile(recorder.gpu(), tile)?;
        let dtype = inputs.dtype();
        self.check_matrix("context", &context, self.value_size, dtype)?;
        if let Some(weights) = &weights {
            self.check_matrix("weights", weights, self.keys, Dtype::F32)?;
            expect_apart(OPERATION, &[("context", context.tensor), ("weights", weights.tensor)])?;
        }
        let vector = inputs.query.aligned()
            && context.aligned()
            && self.size.is_multiple_of(4)
            && self.value_size.is_multiple_of(4);
        let bound_weights = weights.unwrap_or(context);
        let mut params = [self.queries, self.keys, self.size, self.value_size].map(word).to_vec();
        for matrix in [&inputs.query, &context, &bound_weights] {
            params.extend(words(matrix));
        }
        recorder.launch_rounds(
            &Launch {
                kernel: &ADDITIVE_ATTENTION,
                specialisation: tile.forward(vector, weights.is_some(), dtype),
                params: &params,
                tensors: &[
                    inputs.query.tensor,
                    inputs.key,
                    inputs.energy,
                    inputs.value,
                    inputs.lengths,
                    context.tensor,
                    bound_weights.tensor,
                ],
                workgroups: [self.queries.div_ceil(tile.rows as usize), 1, self.batch].map(word),
                cost: self.cost(dtype),
            },
            self.rounds(&tile, self.size) + self.context_rounds(&tile),
        )
    }

    /// Records the whole backward, for all queries at once: what [`AdditiveAttention::record_backward_query`] and
    /// [`AdditiveAttention::record_backward_key`] leave between them, which it takes the place of. Where one evaluation of tanh
    /// can serve both sides, it does.
    ///
    /// # Errors
    /// As these.
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        backward: &Backward<'_>,
        scratch: &Tensor,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Backward { inputs, d_energy, .. } = *backward;
        let Gradients { query: d_query, of_keys } = *gradients;
        let vector = inputs.query.aligned()
            && d_query.aligned()
            && d_energy.aligned()
            && self.size.is_multiple_of(4)
            && self.keys.is_multiple_of(4);
        let Some(specialisation) = tile.both_backward(vector, inputs.dtype()) else {
            self.record_backward_query(recorder, tile, backward, d_query)?;
            return self.record_backward_key(recorder, tile, backward, scratch, &of_keys);
        };
        let dtype = inputs.dtype();
        self.check_inputs(&inputs)?;
        self.check_tile(recorder.gpu(), tile)?;
        self.check_matrix("d_query", &d_query, self.size, dtype)?;
        self.check_key_gradients(dtype, scratch, &of_keys)?;
        expect_apart(OPERATION, &[("d_query", d_query.tensor), ("d_key", of_keys.key), ("scratch", scratch)])?;
        let at_once = self.keys_of_a_dispatch(recorder.gpu(), tile)?;
        let parts = self.keys.div_ceil(at_once);
        self.record_score_backward(recorder, tile, backward, self.cost_backward(dtype))?;
        for part in 0..parts {
            let mut params = [self.queries, self.keys, self.size].map(word).to_vec();
            for matrix in [&inputs.query, &d_energy, &d_query] {
                params.extend(words(matrix));
            }
            params.extend([part * at_once, self.keys.min((part + 1) * at_once), part, parts].map(word));
            recorder.launch(&Launch {
                kernel: &ADDITIVE_ATTENTION_BOTH_BACKWARD,
                specialisation: specialisation.clone(),
                params: &params,
                tensors: &[
                    inputs.query.tensor,
                    inputs.key,
                    inputs.energy,
                    inputs.lengths,
                    d_energy.tensor,
                    d_query.tensor,
                    of_keys.key,
                    scratch,
                ],
                workgroups: [self.size.div_ceil(4 * tile.lanes as usize), 1, self.batch].map(word),
                cost: Cost::default(),
            })?;
        }
        self.record_energy_backward(recorder, self.batch * parts, scratch, of_keys.energy)?;
        self.record_d_value(recorder, backward, of_keys.value)
    }

    fn record_d_value(&self, recorder: &mut Recorder, backward: &Backward<'_>, d_value: &Tensor) -> Result<()> {
        let Self { batch, queries, keys, value_size, .. } = *self;
        let product = Matmul { m: keys, n: value_size, k: queries, batch, transpose_a: true, ..Matmul::default() };
        let d_value = d_value.reshape([batch, keys, value_size])?;
        let tile = matmul::Tile::choose(recorder.gpu(), keys);
        product.record(
            recorder,
            tile,
            &Operands { a: backward.weights, b: backward.d_context, bias: None, c: Matrix::batch(&d_value) },
        )
    }

    fn check_key_gradients(&self, dtype: Dtype, scratch: &Tensor, of_keys: &KeyGradients<'_>) -> Result<()> {
        let Self { batch, keys, size, value_size, .. } = *self;
        expect_of(dtype, OPERATION, "d_key", of_keys.key, &[batch, keys, size])?;
        expect_of(Dtype::F32, OPERATION, "d_energy_vector", of_keys.energy, &[size])?;
        expect_of(dtype, OPERATION, "d_value", of_keys.value, &[batch, keys, value_size])?;
        expect_scratch(OPERATION, scratch, self.scratch())?;
        expect_apart(OPERATION, &[("d_key", of_keys.key), ("scratch", scratch)])
    }

    /// The gradient of the scores, where both ways of the backward begin.
    fn record_score_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        backward: &Backward<'_>,
        cost: Cost,
    ) -> Result<()> {
        let Backward { inputs, weights, d_context, d_weights, d_energy } = *backward;
        let dtype = inputs.dtype();
        self.check_matrix("weights", &weights, self.keys, Dtype::F32)?;
        self.check_matrix("d_context", &d_context, self.value_size, dtype)?;
        if let Some(d_weights) = &d_weights {
            self.check_matrix("d_weights", d_weights, self.keys, Dtype::F32)?;
        }
        self.check_matrix("d_energy", &d_energy, self.keys, Dtype::F32)?;
        let [batch, rows] = [self.batch, self.queries.div_ceil(tile.rows as usize)].map(word);
        let bound_d_weights = d_weights.unwrap_or(weights);
        let mut params = [self.queries, self.keys, self.value_size].map(word).to_vec();
        for matrix in [&weights, &d_context, &bound_d_weights, &d_energy] {
            params.extend(words(matrix));
        }
        params.push(u32::from(d_weights.is_some()));
        let vector = d_context.aligned() && self.value_size.is_multiple_of(4);
        recorder.launch_rounds(
            &Launch {
                kernel: &ADDITIVE_ATTENTION_SCORE_BACKWARD,
                specialisation: tile.score_backward(vector, dtype),
                params: &params,
                tensors: &[
                    inputs.value,
                    inputs.lengths,
                    weights.tensor,
                    d_context.tensor,
                    bound_d_weights.tensor,
                    d_energy.tensor,
                ],
                workgroups: [rows, 1, batch],
                cost,
            },
            self.rounds(&tile, self.value_size),
        )
    }

    /// Records the first half of the backward, row by row of the queries: from the forward's weights and the gradients of what
    /// it has written to that of the scores and `d_query` `[B, T, A]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    pub fn record_backward_query(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        backward: &Backward<'_>,
        d_query: Matrix<'_>,
    ) -> Result<()> {
        let Backward { inputs, d_energy, .. } = *backward;
        self.check_inputs(&inputs)?;
        self.check_tile(recorder.gpu(), tile)?;
        let dtype = inputs.dtype();
        self.check_matrix("d_query", &d_query, self.size, dtype)?;
        self.record_score_backward(recorder, tile, backward, self.cost_backward_query(dtype))?;
        self.record_query_side(recorder, tile, &inputs.scored(), d_energy, d_query)
    }

    /// Records the second half of the backward, once for all queries: from what the first half has left in
    /// [`Backward::d_energy`] to the gradients of keys, energy vector and values. `scratch` has [`AdditiveAttention::scratch`]
    /// elements; what it holds does not matter.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    pub fn record_backward_key(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        backward: &Backward<'_>,
        scratch: &Tensor,
        gradients: &KeyGradients<'_>,
    ) -> Result<()> {
        let Self { keys, value_size, .. } = *self;
        let Backward { inputs, weights, d_context, d_energy, .. } = *backward;
        self.check_inputs(&inputs)?;
        self.check_tile(recorder.gpu(), tile)?;
        let dtype = inputs.dtype();
        self.check_matrix("weights", &weights, keys, Dtype::F32)?;
        self.check_matrix("d_context", &d_context, value_size, dtype)?;
        self.check_matrix("d_energy", &d_energy, keys, Dtype::F32)?;
        self.check_key_gradients(dtype, scratch, gradients)?;
        let scored = ScoredGradients { key: gradients.key, energy: gradients.energy, scratch };
        self.record_key_side(recorder, tile, &inputs.scored(), d_energy, &scored)?;
        self.record_d_value(recorder, backward, gradients.value)
    }
}
