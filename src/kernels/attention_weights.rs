//! The weights of dot-product attention, for looking at: the attention itself never stores them.

use super::{
    dot_product_attention::Heads,
    expect::{expect_dtype, expect_extents, expect_matrix, expect_of, expect_setting},
    forms,
    library::shader,
    matrix::Matrix,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static ATTENTION_WEIGHTS: Shader = shader!("attention_weights", specialisations);

const NAME: &str = "attention_weights";

/// `weights[b, t, s]` = the mean over heads n of `exp(query[b, n, t] · key[b, n, s] * scale - log_sum_exp[b, n, t])`, and 0 for keys at
/// a row's length and past it: what a query attends to, of attention without a causal mask, bias and dropout (Vaswani et al. 2017,
/// section 3.2.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionWeights {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Queries per head, T.
    pub queries: usize,
    /// Keys per head, S, masked ones included.
    pub keys: usize,
    /// Size of a query or key within one head, D.
    pub size: usize,
    /// The factor on products.
    pub scale: f32,
}

/// What [`AttentionWeights`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// T rows a head.
    pub query: Heads<'a>,
    /// S rows a head.
    pub key: Heads<'a>,
    /// `[B]`, u32: how many keys of each row are valid.
    pub lengths: &'a Tensor,
    /// `[B, N, T]`, which the attention has left.
    pub log_sum_exp: &'a Tensor,
}

impl AttentionWeights {
    fn weights(&self) -> usize {
        product(&[self.batch, self.queries, self.keys])
    }

    /// Operations and bytes, with full rows; caches serve what several weights read.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let scores = (self.weights() * self.heads) as f64;
        let rows = product(&[self.batch, self.heads, self.queries + self.keys, self.size]) as f64;
        Cost {
            operations: scores * (2.0 * self.size as f64 + 3.0),
            transcendental: scores,
            read: rows * dtype.bytes() as f64,
            written: self.weights() as f64 * ELEMENT as f64,
        }
    }

    /// Records the weights, one matrix of B T rows of S.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is not as stated, [`crate::Error::Limit`] for heads that are too many or too large for a loop
    /// of the driver, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, weights: Matrix<'_>) -> Result<()> {
        let Self { batch, heads, queries, keys, size, scale } = *self;
        let Inputs { query, key, lengths, log_sum_exp } = *inputs;
        let dtype = query.tensor.dtype().activation();
        expect_extents(
            NAME,
            &[("batch", batch), ("heads", heads), ("queries", queries), ("keys", keys), ("size", size)],
        )?;
        expect_setting(NAME, "scale", scale.is_finite(), "a finite number", f64::from(scale))?;
        query.expect(NAME, "query", dtype, [batch, heads, queries, size])?;
        key.expect(NAME, "key", dtype, [batch, heads, keys, size])?;
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[batch])?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[batch, heads, queries])?;
        expect_dtype(Dtype::F32, NAME, "weights", weights.tensor)?;
        expect_matrix(NAME, "weights", &weights, [1, product(&[batch, queries]), keys])?;
        let rounds = product(&[heads, size]);
        expect_rounds(recorder.gpu(), rounds, || NAME.into(), "Use fewer or smaller heads, or a GPU.")?;
        let tiles = *recorder.gpu().tiles();
        let sizes = [batch, heads, queries, keys, size].map(|extent| extent as u32);
        let rest = [scale.to_bits(), weights.offset as u32, weights.stride as u32];
        recorder.launch(&Launch {
            kernel: &ATTENTION_WEIGHTS,
            specialisation: specialisation(&tiles, dtype),
            params: &[&query.layout()[..], &key.layout(), &sizes, &rest].concat(),
            tensors: &[query.tensor, key.tensor, lengths, log_sum_exp, weights.tensor],
            workgroups: grid(self.weights().div_ceil(tiles.workgroup as usize)),
            cost: self.cost(dtype),
        })
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype) -> Specialisation {
    forms::workgroup(tiles).element(dtype)
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| specialisation(tiles, dtype))
}
