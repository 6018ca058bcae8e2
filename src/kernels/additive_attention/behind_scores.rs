//! The backward of additive scores behind the gradient of the scores themselves, whatever has made that one.

use super::{ADDITIVE_ATTENTION_BACKWARD, ADDITIVE_ATTENTION_ENERGY_BACKWARD, AdditiveAttention, Tile, word, words};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Tensor},
    kernels::{forms, matmul::Matrix},
};

/// Elements of the energy vector that a workgroup sums, and the parts that an invocation loads at a time: as in the shader.
const ENERGY_COLUMNS: u32 = 8;
const ENERGY_UNROLL: usize = 8;

/// What scores are made of, as in [`super::Inputs`].
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Scored<'a> {
    pub query: Matrix<'a>,
    pub key: &'a Tensor,
    pub energy: &'a Tensor,
    pub lengths: &'a Tensor,
}

impl Scored<'_> {
    /// The type of query and key.
    fn dtype(&self) -> Dtype {
        self.key.dtype().activation()
    }
}

/// The gradients of keys `[B, S, A]` and energy vector `[A]`, and scratch for the latter.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct ScoredGradients<'a> {
    pub key: &'a Tensor,
    pub energy: &'a Tensor,
    pub scratch: &'a Tensor,
}

impl AdditiveAttention {
    /// The gradient of the queries from `d_energy`, that of the scores.
    pub(in crate::kernels) fn record_query_side(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        scored: &Scored<'_>,
        d_energy: Matrix<'_>,
        d_query: Matrix<'_>,
    ) -> Result<()> {
        let [batch, rows] = [self.batch, self.queries.div_ceil(tile.rows as usize)].map(word);
        let vector = scored.query.aligned() && d_query.aligned() && self.size.is_multiple_of(4);
        let mut params = [self.queries, self.keys, self.size].map(word).to_vec();
        params.extend(words(&scored.query));
        params.extend([0, word(self.size), word(self.keys * self.size)]);
        let [offset, stride, batch_stride] = words(&d_energy);
        params.extend([offset, stride, 1, batch_stride]);
        params.extend(words(&d_query));
        recorder.launch_rounds(
            &Launch {
                kernel: &ADDITIVE_ATTENTION_BACKWARD,
                specialisation: tile.query_backward(vector, scored.dtype()),
                params: &params,
                tensors: &[
                    scored.query.tensor,
                    scored.key,
                    scored.energy,
                    scored.lengths,
                    d_energy.tensor,
                    d_query.tensor,
                    d_query.tensor,
                ],
                workgroups: [word(self.size).div_ceil(4 * tile.lanes), rows, batch],
                cost: Cost::default(),
            },
            self.keys,
        )
    }

    /// The gradients of keys and energy vector from `d_energy`, that of the scores.
    pub(in crate::kernels) fn record_key_side(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        scored: &Scored<'_>,
        d_energy: Matrix<'_>,
        of_keys: &ScoredGradients<'_>,
    ) -> Result<()> {
        let Self { batch, queries, keys, size, .. } = *self;
        let ScoredGradients { key: d_key, energy: d_energy_vector, scratch } = *of_keys;
        let dtype = scored.dtype();
        let tile = tile.for_keys();
        let vector = scored.query.aligned() && size.is_multiple_of(4);
        let tiles = keys.div_ceil(tile.rows as usize);
        let key_words = [0, word(size), word(keys * size)];
        let mut params = [keys, queries, size].map(word).to_vec();
        params.extend(key_words);
        params.extend(words(&scored.query));
        let [offset, stride, batch_stride] = words(&d_energy);
        params.extend([offset, 1, stride, batch_stride]);
        params.extend(key_words);
        recorder.launch_rounds(
            &Launch {
                kernel: &ADDITIVE_ATTENTION_BACKWARD,
                specialisation: tile.key_backward(vector, dtype),
                params: &params,
                tensors: &[
                    scored.key,
                    scored.query.tensor,
                    scored.energy,
                    scored.lengths,
                    d_energy.tensor,
                    d_key,
                    scratch,
                ],
                workgroups: [size.div_ceil(4 * tile.lanes as usize), tiles, batch].map(word),
                cost: self.cost_backward_key(dtype),
            },
            queries,
        )?;
        self.record_energy_backward(recorder, batch * tiles, scratch, d_energy_vector)
    }

    /// d_energy_vector from its parts in `scratch`.
    pub(super) fn record_energy_backward(
        &self,
        recorder: &mut Recorder,
        parts: usize,
        scratch: &Tensor,
        d_energy_vector: &Tensor,
    ) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let slices = (tiles.workgroup / ENERGY_COLUMNS) as usize;
        recorder.launch_rounds(
            &Launch {
                kernel: &ADDITIVE_ATTENTION_ENERGY_BACKWARD,
                specialisation: forms::workgroup(&tiles),
                params: &[word(parts), word(self.size)],
                tensors: &[scratch, d_energy_vector],
                workgroups: [word(self.size).div_ceil(ENERGY_COLUMNS), 1, 1],
                cost: Cost::default(),
            },
            parts.div_ceil(slices).div_ceil(ENERGY_UNROLL),
        )
    }
}
