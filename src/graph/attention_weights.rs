//! The weights of dot-product attention, for looking at: [`crate::kernels::attention_weights`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::{
        attention_weights::{AttentionWeights, Inputs},
        dot_product_attention::Heads,
        matmul::Matrix,
    },
};

const NAME: &str = "attention_weights";

/// Inputs: query, key, lengths, log_sum_exp. Output: the weights.
#[derive(Debug)]
struct Weights(AttentionWeights);

impl Graph {
    /// What the queries of [`Graph::multi_head_attention`] attended to, without a causal mask, bias and dropout: the mean over `heads` of
    /// its weights, `[B, T, S]`, f32, for `query` `[B, T, N·D]`, `key` `[B, S, N·D]`, `lengths` `[B]` and the attention's `log_sum_exp`
    /// `[B, N, T]` and `scale`. It has no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn attention_weights(
        &mut self,
        [query, key]: [Value; 2],
        lengths: Value,
        log_sum_exp: Value,
        (heads, scale): (usize, f32),
    ) -> Result<Value> {
        let [batch, queries, width] = self.expect_float(NAME, "query", query, [None; 3])?;
        let [_, keys, _] = self.expect(NAME, "key", key, self.dtype(query), [Some(batch), None, Some(width)])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        self.expect(NAME, "log_sum_exp", log_sum_exp, Dtype::F32, [Some(batch), Some(heads), Some(queries)])?;
        if heads == 0 || width % heads != 0 {
            let (wanted, got) = (format!("a number that divides the width {width}"), heads.to_string());
            return Err(Error::Shape { operation: NAME, argument: "heads", wanted, got });
        }
        let size = width / heads;
        let operation = Weights(AttentionWeights { batch, heads, queries, keys, size, scale });
        let made = [([batch, queries, keys].into(), Dtype::F32)];
        Ok(self.push_as(operation, &[query, key, lengths, log_sum_exp], made)[0])
    }
}

impl Operation for Weights {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        let heads = |tensor| Heads::side_by_side(tensor, 0, self.0.size);
        let inputs =
            Inputs { query: heads(&inputs[0]), key: heads(&inputs[1]), lengths: &inputs[2], log_sum_exp: &inputs[3] };
        self.0.record(recorder, &inputs, Matrix::rows(&outputs[0]))
    }
}
