//! The scores of additive attention by themselves, for attention that goes on from them in its own way: the "concat" score of Luong,
//! Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation" (2015), equation 8. Where all keys are
//! attended to, [`super::additive_attention`] does all in one. The backward is its own, behind its scores.

use super::{
    additive_attention::{AdditiveAttention, Scored, ScoredGradients, Tile},
    expect::{expect_apart, expect_of, expect_scratch},
    forms,
    library::shader,
    matmul::Matrix,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles},
};

pub(super) static ADDITIVE_SCORE: Shader = shader!("additive_score", specialisations);

const NAME: &str = "additive_score";

/// Queries of a workgroup.
const ROWS: u32 = 8;

/// `scores[b, t, s] = energy · tanh(query[b, t] + key[b, s])`, 0 where s is at or past the row's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditiveScore {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Queries per row, T.
    pub queries: usize,
    /// Keys per row, S, masked ones included.
    pub keys: usize,
    /// Size of the projected queries and keys, A.
    pub size: usize,
}

/// What [`AdditiveScore`] reads. Keys at and past a row's length are never read. Query, key and their gradients are of one type,
/// which may be f16; scores and the energy vector are f32.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, A]`, projected.
    pub query: &'a Tensor,
    /// `[B, S, A]`, projected.
    pub key: &'a Tensor,
    /// `[A]`, the paper's vector v.
    pub energy: &'a Tensor,
    /// `[B]`, u32: how many keys of each row are valid.
    pub lengths: &'a Tensor,
}

/// What [`AdditiveScore::record_backward`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, A]`
    pub query: &'a Tensor,
    /// `[B, S, A]`
    pub key: &'a Tensor,
    /// `[A]`
    pub energy: &'a Tensor,
}

impl AdditiveScore {
    /// As attention over values that nobody reads.
    fn attention(&self) -> AdditiveAttention {
        let Self { batch, queries, keys, size } = *self;
        AdditiveAttention { batch, queries, keys, size, value_size: 1 }
    }

    /// Elements of the scratch that [`AdditiveScore::record_backward`] wants.
    pub fn scratch(&self) -> usize {
        self.attention().scratch()
    }

    /// Operations and bytes of the forward.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let [b, t, s, a] = [self.batch, self.queries, self.keys, self.size].map(|extent| extent as f64);
        Cost {
            operations: b * t * s * 5.0 * a,
            transcendental: b * (t * s * 0.5 * a + (t + s) * a),
            read: dtype.bytes() as f64 * b * (t + s) * a,
            written: ELEMENT as f64 * b * t * s,
        }
    }

    fn check(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Self { batch, queries, keys, size } = *self;
        let dtype = inputs.key.dtype().activation();
        expect_of(dtype, NAME, "query", inputs.query, &[batch, queries, size])?;
        expect_of(dtype, NAME, "key", inputs.key, &[batch, keys, size])?;
        expect_of(Dtype::F32, NAME, "energy", inputs.energy, &[size])?;
        expect_of(Dtype::U32, NAME, "lengths", inputs.lengths, &[batch])
    }

    /// Records the scores `[B, T, S]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if an argument does not have its shape, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, scores: &Tensor) -> Result<()> {
        let Self { batch, queries, keys, size } = *self;
        self.check(inputs)?;
        expect_of(Dtype::F32, NAME, "scores", scores, &[batch, queries, keys])?;
        self.attention().check_tile(recorder.gpu(), Tile::choose(recorder.gpu(), &self.attention()))?;
        let (tiles, dtype) = (*recorder.gpu().tiles(), inputs.key.dtype().activation());
        let rows = rows(queries);
        recorder.launch(&Launch {
            kernel: &ADDITIVE_SCORE,
            specialisation: specialisation(&tiles, dtype, rows, size.is_multiple_of(4)),
            params: &[queries, keys, size].map(|extent| extent as u32),
            tensors: &[inputs.query, inputs.key, inputs.energy, inputs.lengths, scores],
            workgroups: [keys.div_ceil(tiles.row as usize), queries.div_ceil(rows as usize), batch]
                .map(|count| count as u32),
            cost: self.cost(dtype),
        })
    }

    /// Records the gradients of query, key and energy vector from `d_scores` `[B, T, S]`; what it holds at masked keys has no effect.
    /// `scratch` has [`AdditiveScore::scratch`] elements.
    ///
    /// # Errors
    /// As [`AdditiveScore::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        d_scores: &Tensor,
        scratch: &Tensor,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Self { batch, queries, keys, size } = *self;
        let Inputs { query, key, energy, lengths } = *inputs;
        self.check(inputs)?;
        let dtype = key.dtype().activation();
        expect_of(dtype, NAME, "d_query", gradients.query, &[batch, queries, size])?;
        expect_of(dtype, NAME, "d_key", gradients.key, &[batch, keys, size])?;
        expect_of(Dtype::F32, NAME, "d_energy", gradients.energy, &[size])?;
        expect_of(Dtype::F32, NAME, "d_scores", d_scores, &[batch, queries, keys])?;
        expect_scratch(NAME, scratch, self.scratch())?;
        let of_keys = [("d_key", gradients.key), ("d_energy", gradients.energy), ("scratch", scratch)];
        expect_apart(NAME, &[[("d_query", gradients.query)].as_slice(), &of_keys].concat())?;
        let attention = self.attention();
        let tile = Tile::choose(recorder.gpu(), &attention);
        attention.check_tile(recorder.gpu(), tile)?;
        let rows = |tensor, size| Matrix { tensor, offset: 0, stride: size, batch_stride: queries * size };
        let scored = Scored { query: rows(query, size), key, energy, lengths };
        let of_keys = ScoredGradients { key: gradients.key, energy: gradients.energy, scratch };
        let (d_scores, d_query) = (rows(d_scores, keys), rows(gradients.query, size));
        attention.record_query_side(recorder, tile, &scored, d_scores, d_query)?;
        attention.record_key_side(recorder, tile, &scored, d_scores, &of_keys)
    }
}

/// Queries of a workgroup where a row of the batch has so many.
fn rows(queries: usize) -> u32 {
    if queries == 1 { 1 } else { ROWS }
}

/// There is no form for subgroups: barriers follow the lanes' vote, and WGSL lets them follow a vote of the workgroup alone.
fn specialisation(tiles: &Tiles, dtype: Dtype, rows: u32, vector: bool) -> Specialisation {
    let lanes = Specialisation::new().constant("LANES", tiles.row);
    lanes.define_if(vector, "VECTOR").element(dtype).constant("ROWS", rows)
}

pub(super) fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let of = |dtype| {
        let of_rows = |rows| forms::either(|vector| specialisation(tiles, dtype, rows, vector));
        [of_rows(1), of_rows(ROWS)].concat()
    };
    forms::each_element(tiles, of).concat()
}
