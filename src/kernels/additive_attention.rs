//! Additive attention: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate" (2015),
//! section 3.1 and appendix A.1.2, with query and key already projected. Scores, softmax and weighted sum are one dispatch, and
//! nothing of size B·T·S·A exists in either direction.
//!
//! The backward comes in two halves. What a query row needs is its own gradient alone, so a recurrent decoder calls
//! [`AdditiveAttention::record_backward_query`] within its loop, and [`AdditiveAttention::record_backward_key`] once, after it.
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
//! forward. What lost: four elements to a division, the energy vector spread over the lanes, 64 rows (7 times slower).

use serde::{Deserialize, Serialize};

use super::{
    forms,
    matmul::{self, Matmul, Matrix},
    table::{
        ADDITIVE_ATTENTION, ADDITIVE_ATTENTION_BACKWARD, ADDITIVE_ATTENTION_BOTH_BACKWARD,
        ADDITIVE_ATTENTION_ENERGY_BACKWARD, ADDITIVE_ATTENTION_SCORE_BACKWARD,
    },
    tunable::{Tunable, tuned},
};
use crate::{
    Error, Result,
    gpu::{AdapterClass, Cost, ELEMENT, Gpu, Launch, Recorder, Specialisation, Tensor, Tiles},
};

const OPERATION: &str = "additive_attention";

/// Keys that are scored before they are weighted; a tile of scores takes `BLOCK * rows * 4` bytes of workgroup memory.
const BLOCK: u32 = 128;

/// What llvmpipe allows an invocation, with something to spare.
const MOST_ROUNDS: usize = 60_000;

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

/// What [`AdditiveAttention::record_backward`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, A]`.
    pub query: Matrix<'a>,
    /// `[B, S, A]`.
    pub key: &'a Tensor,
    /// `[A]`, of the paper's vector v.
    pub energy: &'a Tensor,
    /// `[B, S, V]`.
    pub value: &'a Tensor,
}

/// What one workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// A workgroup is one subgroup of `lanes`, and rows are passed round in it; or rows are staged in workgroup memory.
    pub subgroups: bool,
    /// Invocations of a workgroup, a power of two.
    pub lanes: u32,
    /// Queries per workgroup: 1 or a multiple of 4.
    pub rows: u32,
    /// Keys per workgroup where their gradients are made: a multiple of 4.
    pub key_rows: u32,
    /// Keys per invocation in a tile of scores; of one query, keys that the workgroup scores together.
    pub keys: u32,
    /// vec4 columns of the context per invocation.
    pub columns: u32,
    /// Whether one evaluation of tanh serves the gradients of queries and keys, where both are wanted at once. It needs
    /// subgroups, and pays where the workgroups are few and their walks long.
    pub both_sides: bool,
}

impl Tile {
    /// The configuration for an adapter and a shape.
    ///
    /// On lavapipe a tile of 32 rows and 4 keys a lane is as large as pays: the loads are half the work.
    /// On RDNA2, 8 rows of keys would leave 4 subgroups a SIMD to their gradients; 4 rows leave 8.
    pub fn choose(gpu: &Gpu, shape: &AdditiveAttention) -> Self {
        tuned(gpu, Self::class(shape)).unwrap_or_else(|| Self::of(gpu.tiles(), shape.queries, shape.keys))
    }

    fn of(tiles: &Tiles, queries: usize, keys: usize) -> Self {
        let Some(lanes) = tiles.subgroup else {
            let (rows, keys) = if queries == 1 { (1, 4) } else { (8, 1) };
            return Self {
                subgroups: false,
                lanes: 64,
                rows,
                key_rows: word(KEY_ROWS),
                keys,
                columns: 1,
                both_sides: false,
            };
        };
        let keys_per_lane = word(keys).div_ceil(lanes).clamp(2, 4);
        let (rows, at_once) =
            if queries == 1 { (1, keys_of_one_query(keys)) } else { (fitting(queries, lanes), keys_per_lane) };
        Self {
            subgroups: true,
            lanes,
            rows,
            key_rows: fitting(keys, lanes),
            keys: at_once,
            columns: 2,
            both_sides: queries > 1 && keys > 32,
        }
    }

    /// Each tile that some shape takes.
    fn every(tiles: &Tiles) -> Vec<Self> {
        let shapes = (1..=64).flat_map(|queries| (1..=512).map(move |keys| (queries, keys)));
        let defaults = shapes.map(|(queries, keys)| Self::of(tiles, queries, keys));
        forms::distinct(defaults.chain(Self::candidates(tiles)))
    }

    /// The class of a shape.
    pub fn class(shape: &AdditiveAttention) -> &'static str {
        match (shape.queries, shape.keys) {
            (1, _) => "one query",
            (_, 0..=16) => "keys <= 16",
            (_, 17..=32) => "keys <= 32",
            _ => "keys > 32",
        }
    }

    /// The same for the keys' side of the backward.
    fn for_keys(self) -> Self {
        Self { rows: self.key_rows, ..self }
    }

    fn forward(self, vector: bool) -> Specialisation {
        let form = self.specialisation(vector).constant("KEYS", self.keys);
        form.constant("COLUMNS", self.columns).constant("BLOCK", BLOCK)
    }

    fn score_backward(self, vector: bool) -> Specialisation {
        self.specialisation(vector).constant("KEYS", self.keys)
    }

    fn query_backward(self, vector: bool) -> Specialisation {
        self.specialisation(vector)
    }

    fn key_backward(self, vector: bool) -> Specialisation {
        self.for_keys().specialisation(vector).define("KEYS_SIDE")
    }

    fn both_backward(self, vector: bool) -> Option<Specialisation> {
        (self.subgroups && self.both_sides).then(|| {
            Specialisation::new()
                .define("SUBGROUPS")
                .define_if(vector, "VECTOR")
                .constant("LANES", self.lanes)
                .constant("ROWS", self.key_rows)
        })
    }

    fn energy_backward(self) -> Specialisation {
        Specialisation::new().constant("LANES", self.lanes)
    }

    /// The constants and forms that all kernels of the family share.
    fn specialisation(self, vector: bool) -> Specialisation {
        Specialisation::new()
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(vector, "VECTOR")
            .define_if(self.rows == 1, "ONE_ROW")
            .constant("LANES", self.lanes)
            .constant("ROWS", self.rows)
    }
}

impl Tunable for Tile {
    const KERNEL: &'static str = "additive_attention";
    const CLASSES: &'static [&'static str] = &["one query", "keys <= 16", "keys <= 32", "keys > 32"];

    fn candidates(tiles: &Tiles) -> Vec<Self> {
        let shapes = [(1, 64), (8, 16), (8, 24), (8, 64), (16, 16), (16, 24), (64, 64)];
        forms::distinct(shapes.map(|(queries, keys)| Self::of(tiles, queries, keys)))
    }
}

/// The rows of a tile that fit so many queries or keys: few rows past the end, and few tiles, which load everything again.
fn fitting(count: usize, lanes: u32) -> u32 {
    let cost = |rows: &u32| count.div_ceil(*rows as usize) * (*rows as usize + 4);
    [32, 24, 16, 8].into_iter().filter(|rows| *rows <= 4 * lanes).min_by_key(cost).unwrap_or(8)
}

/// How many keys of one query are scored together: the query is loaded again for each such group.
fn keys_of_one_query(count: usize) -> u32 {
    [8, 6, 4].into_iter().min_by_key(|keys| count.div_ceil(*keys) * (keys + 2)).map_or(8, word)
}

fn word(value: usize) -> u32 {
    value as u32
}

fn words(matrix: &Matrix<'_>) -> [u32; 3] {
    [word(matrix.offset), word(matrix.stride), word(matrix.batch_stride)]
}

impl AdditiveAttention {
    /// Operations and bytes of the forward.
    pub fn cost(&self) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let bytes = ELEMENT as f64;
        Cost {
            operations: b * t * s * (5.0 * a + 2.0 * v),
            transcendental: b * (t * s * (0.5 * a + 1.0) + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v),
            written: bytes * b * t * v,
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward_query`].
    pub fn cost_backward_query(&self) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let bytes = ELEMENT as f64;
        Cost {
            operations: b * t * s * (8.0 * a + 2.0 * v),
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v + t * v + t * s),
            written: bytes * b * (t * s + t * a),
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward`], less the product for `d_value`, which counts itself.
    pub fn cost_backward(&self) -> Cost {
        let [b, t, s, a, v] = self.extents();
        let bytes = ELEMENT as f64;
        Cost {
            operations: b * t * s * (11.0 * a + 2.0 * v),
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a + s * v + t * v + t * s),
            written: bytes * b * (t * s + t * a + s * a),
        }
    }

    /// Operations and bytes of [`AdditiveAttention::record_backward_key`], less the product for `d_value`, which counts itself.
    pub fn cost_backward_key(&self) -> Cost {
        let [b, t, s, a, _] = self.extents();
        let bytes = ELEMENT as f64;
        Cost {
            operations: b * t * s * 9.0 * a,
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: bytes * b * (t * a + s * a + t * s),
            written: bytes * b * s * a,
        }
    }

    fn extents(&self) -> [f64; 5] {
        [self.batch, self.queries, self.keys, self.size, self.value_size].map(|extent| extent as f64)
    }

    /// Elements of the scratch that [`AdditiveAttention::record_backward_key`] wants.
    pub fn scratch(&self) -> usize {
        self.batch * self.keys.div_ceil(KEY_ROWS) * self.size
    }

    fn check_inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Self { batch, keys, size, value_size, .. } = *self;
        self.check_matrix("query", &inputs.query, size)?;
        check_tensor("key", inputs.key, &[batch, keys, size])?;
        check_tensor("energy", inputs.energy, &[size])?;
        check_tensor("value", inputs.value, &[batch, keys, value_size])?;
        check_tensor("lengths", inputs.lengths, &[batch])
    }

    /// A matrix `[B, T, columns]` within its tensor.
    fn check_matrix(&self, argument: &'static str, matrix: &Matrix<'_>, columns: usize) -> Result<()> {
        let Self { batch, queries, keys, .. } = *self;
        let empty = batch * queries * keys * columns == 0;
        if empty || matrix.end(queries, columns, batch) > matrix.tensor.elements() {
            return Err(Error::Shape {
                operation: OPERATION,
                argument,
                wanted: format!("{batch} x [{queries}, {columns}], rows {} apart", matrix.stride),
                got: format!("{} from element {}", matrix.tensor.shape(), matrix.offset),
            });
        }
        Ok(())
    }

    /// llvmpipe silently ends an invocation after some 65,000 rounds of all its loops together. This counts the scores' and the
    /// context's loops, doubled for a tile that is done again outside the factored tanh's domain, and doubled again for
    /// staging, and the two loops of the backward's means; checked modules keep the loops over rows and keys.
    fn check_rounds(&self, gpu: &Gpu, tile: Tile) -> Result<()> {
        let (lanes, keys) = (tile.lanes as usize, tile.keys as usize);
        let scores = match tile.rows {
            1 => self.keys.div_ceil(keys) * self.size.div_ceil(4 * lanes),
            _ => self.keys.max(self.queries).div_ceil(lanes * keys) * self.size.div_ceil(4),
        };
        let context = self.value_size.div_ceil(4 * lanes * tile.columns as usize) * self.keys.div_ceil(4);
        let inner = if gpu.checked() { (tile.rows * (tile.keys + 1)).max(4) as usize } else { 4 };
        let means = 2 * tile.rows.div_ceil(4) as usize * self.keys.div_ceil(lanes) * if gpu.checked() { 5 } else { 1 };
        let need = (scores + context) * inner + means;
        if gpu.class() != AdapterClass::Cpu || need <= MOST_ROUNDS {
            return Ok(());
        }
        Err(self.too_many_rounds(need))
    }

    fn too_many_rounds(&self, need: usize) -> Error {
        Error::Limit {
            what: format!("{OPERATION} of {} queries over {} keys of size {}", self.queries, self.keys, self.size),
            need: need as u64,
            limit: "number of loop rounds (of a driver that runs shaders on the CPU)",
            have: MOST_ROUNDS as u64,
            remedy: "Use shorter sequences, kernels without checks, or a GPU.".into(),
        }
    }

    /// How many keys one dispatch for both sides takes, in whole tiles: each walks over all queries, and four keys at a time
    /// where it comes out of the factored tanh's domain.
    fn keys_of_a_dispatch(&self, gpu: &Gpu, tile: Tile) -> Result<usize> {
        let rows = tile.key_rows as usize;
        let inner = if gpu.checked() { rows + 4 } else { 1 };
        let of_tile = self.queries * (inner + rows / 4 * inner.min(5)) + 4 * rows;
        let left = MOST_ROUNDS.saturating_sub(self.queries);
        if gpu.class() != AdapterClass::Cpu {
            return Ok(self.keys);
        }
        if of_tile > left {
            return Err(self.too_many_rounds(of_tile + self.queries));
        }
        Ok(left / of_tile * rows)
    }

    /// Records the forward: `context` `[B, T, V]` and, if wanted, `weights` `[B, T, S]`, 0 where masked. Both are 0 in a row
    /// without valid keys. Without `weights` nothing of size T·S exists.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        context: Matrix<'_>,
        weights: Option<Matrix<'_>>,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        self.check_rounds(recorder.gpu(), tile)?;
        self.check_matrix("context", &context, self.value_size)?;
        if let Some(weights) = &weights {
            self.check_matrix("weights", weights, self.keys)?;
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
        params.push(u32::from(weights.is_some()));
        recorder.dispatch(&Launch {
            kernel: &ADDITIVE_ATTENTION,
            specialisation: tile.forward(vector),
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
            cost: self.cost(),
        })
    }

    /// Records the whole backward, for all queries at once: from the forward's `weights` and `d_context` (and `d_weights`) to
    /// what [`AdditiveAttention::record_backward_query`] and [`AdditiveAttention::record_backward_key`] leave between them,
    /// which it takes the place of. Where one evaluation of tanh can serve both sides, it does.
    ///
    /// # Errors
    /// As these.
    #[allow(clippy::too_many_arguments, reason = "a gradient for each tensor")]
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        weights: Matrix<'_>,
        d_context: Matrix<'_>,
        d_weights: Option<Matrix<'_>>,
        d_energy: Matrix<'_>,
        scratch: &Tensor,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Gradients { query: d_query, key: d_key, energy: d_energy_vector, value: d_value } = *gradients;
        let vector = inputs.query.aligned()
            && d_query.aligned()
            && d_energy.aligned()
            && self.size.is_multiple_of(4)
            && self.keys.is_multiple_of(4);
        let Some(specialisation) = tile.both_backward(vector) else {
            self.record_backward_query(recorder, tile, inputs, weights, d_context, d_weights, d_energy, d_query)?;
            return self.record_backward_key(
                recorder,
                tile,
                inputs,
                weights,
                d_context,
                d_energy,
                scratch,
                d_key,
                d_energy_vector,
                d_value,
            );
        };
        self.check_inputs(inputs)?;
        self.check_rounds(recorder.gpu(), tile)?;
        self.check_matrix("d_query", &d_query, self.size)?;
        self.check_key_gradients(scratch, d_key, d_energy_vector, d_value)?;
        let at_once = self.keys_of_a_dispatch(recorder.gpu(), tile)?;
        let parts = self.keys.div_ceil(at_once);
        self.record_score_backward(
            recorder,
            tile,
            inputs,
            weights,
            d_context,
            d_weights,
            d_energy,
            self.cost_backward(),
        )?;
        for part in 0..parts {
            let mut params = [self.queries, self.keys, self.size].map(word).to_vec();
            for matrix in [&inputs.query, &d_energy, &d_query] {
                params.extend(words(matrix));
            }
            params.extend([part * at_once, self.keys.min((part + 1) * at_once), part, parts].map(word));
            recorder.dispatch(&Launch {
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
                    d_key,
                    scratch,
                ],
                workgroups: [self.size.div_ceil(4 * tile.lanes as usize), 1, self.batch].map(word),
                cost: Cost::default(),
            })?;
        }
        self.record_energy_backward(recorder, tile, self.batch * parts, scratch, d_energy_vector)?;
        self.record_d_value(recorder, weights, d_context, d_value)
    }

    /// d_energy_vector from its parts in `scratch`.
    fn record_energy_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        parts: usize,
        scratch: &Tensor,
        d_energy_vector: &Tensor,
    ) -> Result<()> {
        recorder.dispatch(&Launch {
            kernel: &ADDITIVE_ATTENTION_ENERGY_BACKWARD,
            specialisation: tile.energy_backward(),
            params: &[word(parts), word(self.size)],
            tensors: &[scratch, d_energy_vector],
            workgroups: [word(self.size).div_ceil(tile.lanes), 1, 1],
            cost: Cost::default(),
        })
    }

    fn record_d_value(
        &self,
        recorder: &mut Recorder,
        weights: Matrix<'_>,
        d_context: Matrix<'_>,
        d_value: &Tensor,
    ) -> Result<()> {
        let Self { batch, queries, keys, value_size, .. } = *self;
        let product = Matmul { m: keys, n: value_size, k: queries, batch, transpose_a: true, ..Matmul::default() };
        let d_value = d_value.reshape([batch, keys, value_size]);
        let tile = matmul::Tile::choose(recorder.gpu(), keys);
        product.record(recorder, tile, weights, d_context, None, Matrix::batch(&d_value))
    }

    fn check_key_gradients(
        &self,
        scratch: &Tensor,
        d_key: &Tensor,
        d_energy_vector: &Tensor,
        d_value: &Tensor,
    ) -> Result<()> {
        let Self { batch, keys, size, value_size, .. } = *self;
        check_tensor("d_key", d_key, &[batch, keys, size])?;
        check_tensor("d_energy_vector", d_energy_vector, &[size])?;
        check_tensor("d_value", d_value, &[batch, keys, value_size])?;
        if scratch.elements() < self.scratch() {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "scratch",
                wanted: format!("[{}] or more", self.scratch()),
                got: scratch.shape().to_string(),
            });
        }
        Ok(())
    }

    /// The gradient of the scores, where both ways of the backward begin.
    #[allow(clippy::too_many_arguments, reason = "a gradient for each tensor")]
    fn record_score_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        weights: Matrix<'_>,
        d_context: Matrix<'_>,
        d_weights: Option<Matrix<'_>>,
        d_energy: Matrix<'_>,
        cost: Cost,
    ) -> Result<()> {
        self.check_matrix("weights", &weights, self.keys)?;
        self.check_matrix("d_context", &d_context, self.value_size)?;
        if let Some(d_weights) = &d_weights {
            self.check_matrix("d_weights", d_weights, self.keys)?;
        }
        self.check_matrix("d_energy", &d_energy, self.keys)?;
        let [batch, rows] = [self.batch, self.queries.div_ceil(tile.rows as usize)].map(word);
        let bound_d_weights = d_weights.unwrap_or(weights);
        let mut params = [self.queries, self.keys, self.value_size].map(word).to_vec();
        for matrix in [&weights, &d_context, &bound_d_weights, &d_energy] {
            params.extend(words(matrix));
        }
        params.push(u32::from(d_weights.is_some()));
        let vector = d_context.aligned() && self.value_size.is_multiple_of(4);
        recorder.dispatch(&Launch {
            kernel: &ADDITIVE_ATTENTION_SCORE_BACKWARD,
            specialisation: tile.score_backward(vector),
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
        })
    }

    /// Records the first half of the backward, row by row of the queries: from the forward's `weights` and `d_context`
    /// `[B, T, V]` (and `d_weights` `[B, T, S]`, if the weights themselves are used; what it holds at masked keys has no
    /// effect) to `d_energy` `[B, T, S]`, the gradient of the scores, 0 where masked, and `d_query` `[B, T, A]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    #[allow(clippy::too_many_arguments, reason = "a gradient for each tensor")]
    pub fn record_backward_query(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        weights: Matrix<'_>,
        d_context: Matrix<'_>,
        d_weights: Option<Matrix<'_>>,
        d_energy: Matrix<'_>,
        d_query: Matrix<'_>,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        self.check_rounds(recorder.gpu(), tile)?;
        self.check_matrix("d_query", &d_query, self.size)?;
        self.record_score_backward(
            recorder,
            tile,
            inputs,
            weights,
            d_context,
            d_weights,
            d_energy,
            self.cost_backward_query(),
        )?;
        let [batch, rows] = [self.batch, self.queries.div_ceil(tile.rows as usize)].map(word);
        let vector = inputs.query.aligned() && d_query.aligned() && self.size.is_multiple_of(4);
        let mut params = [self.queries, self.keys, self.size].map(word).to_vec();
        params.extend(words(&inputs.query));
        params.extend(words(&Matrix::batch(&inputs.key.reshape([self.batch, self.keys, self.size]))));
        let [offset, stride, batch_stride] = words(&d_energy);
        params.extend([offset, stride, 1, batch_stride]);
        params.extend(words(&d_query));
        recorder.dispatch(&Launch {
            kernel: &ADDITIVE_ATTENTION_BACKWARD,
            specialisation: tile.query_backward(vector),
            params: &params,
            tensors: &[
                inputs.query.tensor,
                inputs.key,
                inputs.energy,
                inputs.lengths,
                d_energy.tensor,
                d_query.tensor,
                d_query.tensor,
            ],
            workgroups: [word(self.size).div_ceil(4 * tile.lanes), rows, batch],
            cost: Cost::default(),
        })
    }

    /// Records the second half of the backward, once for all queries: from what the first half has left in `d_energy` to
    /// `d_key` `[B, S, A]`, `d_energy_vector` `[A]` and `d_value` `[B, S, V]`. `scratch` has [`AdditiveAttention::scratch`]
    /// elements; what it holds does not matter.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    #[allow(clippy::too_many_arguments, reason = "a gradient for each tensor")]
    pub fn record_backward_key(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        weights: Matrix<'_>,
        d_context: Matrix<'_>,
        d_energy: Matrix<'_>,
        scratch: &Tensor,
        d_key: &Tensor,
        d_energy_vector: &Tensor,
        d_value: &Tensor,
    ) -> Result<()> {
        let Self { batch, queries, keys, size, value_size } = *self;
        self.check_inputs(inputs)?;
        self.check_rounds(recorder.gpu(), tile)?;
        self.check_matrix("weights", &weights, keys)?;
        self.check_matrix("d_context", &d_context, value_size)?;
        self.check_matrix("d_energy", &d_energy, keys)?;
        self.check_key_gradients(scratch, d_key, d_energy_vector, d_value)?;
        let tile = tile.for_keys();
        let vector = inputs.query.aligned() && size.is_multiple_of(4);
        let tiles = keys.div_ceil(tile.rows as usize);
        let key_words = [0, word(size), word(keys * size)];
        let mut params = [keys, queries, size].map(word).to_vec();
        params.extend(key_words);
        params.extend(words(&inputs.query));
        let [offset, stride, batch_stride] = words(&d_energy);
        params.extend([offset, 1, stride, batch_stride]);
        params.extend(key_words);
        recorder.dispatch(&Launch {
            kernel: &ADDITIVE_ATTENTION_BACKWARD,
            specialisation: tile.key_backward(vector),
            params: &params,
            tensors: &[inputs.key, inputs.query.tensor, inputs.energy, inputs.lengths, d_energy.tensor, d_key, scratch],
            workgroups: [size.div_ceil(4 * tile.lanes as usize), tiles, batch].map(word),
            cost: self.cost_backward_key(),
        })?;
        self.record_energy_backward(recorder, tile, batch * tiles, scratch, d_energy_vector)?;
        self.record_d_value(recorder, weights, d_context, d_value)
    }
}

fn check_tensor(argument: &'static str, tensor: &Tensor, wanted: &[usize]) -> Result<()> {
    if tensor.elements() == wanted.iter().product::<usize>() {
        return Ok(());
    }
    Err(Error::Shape {
        operation: OPERATION,
        argument,
        wanted: crate::gpu::Shape::from(wanted).to_string(),
        got: tensor.shape().to_string(),
    })
}

fn of_every_tile(tiles: &Tiles, forms: impl Fn(Tile) -> Vec<Specialisation>) -> Vec<Specialisation> {
    forms::distinct(Tile::every(tiles).into_iter().flat_map(forms))
}

pub(super) fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile| forms::either(|vector| tile.forward(vector)))
}

pub(super) fn score_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile| forms::either(|vector| tile.score_backward(vector)))
}

pub(super) fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    let both = |tile: Tile, vector| vec![tile.query_backward(vector), tile.key_backward(vector)];
    of_every_tile(tiles, |tile| forms::either(|vector| both(tile, vector)).concat())
}

pub(super) fn both_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile| forms::either(|vector| tile.both_backward(vector)).into_iter().flatten().collect())
}

pub(super) fn energy_backwards(tiles: &Tiles) -> Vec<Specialisation> {
    of_every_tile(tiles, |tile| vec![tile.energy_backward()])
}
