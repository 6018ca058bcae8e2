//! Multi-head scaled dot-product attention: [`crate::kernels::dot_product_attention`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::dot_product_attention::{DotProductAttention, Gradients, Inputs, Saved, Tile},
};

operands! { ForwardInputs { query, key, value, lengths } }
operands! { ForwardOutputs { context, log_sum_exp } }
operands! { BackwardInputs { query, key, value, lengths, context, log_sum_exp, d_context } }
operands! { BackwardOutputs { d_query, d_key, d_value, statistics } }

#[derive(Debug)]
struct Forward(DotProductAttention);

#[derive(Debug)]
struct Backward(DotProductAttention);

impl Graph {
    /// `softmax(query·keyᵀ / sqrt(D))·value` per head (Vaswani et al. 2017, section 3.2.1) for `query` `[B, N, T, D]`, `key` and
    /// `value` `[B, N, S, D]`, masked by `lengths` `[B]` and, if `causal`, to `s <= t`: `[B, N, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn dot_product_attention(
        &mut self,
        query: Value,
        key: Value,
        value: Value,
        lengths: Value,
        causal: bool,
    ) -> Result<Value> {
        const NAME: &str = "dot_product_attention";
        let [batch, heads, queries, size] = self.expect_float(NAME, "query", query, [None; 4])?;
        let like = [Some(batch), Some(heads), None, Some(size)];
        let dtype = self.dtype(query);
        let [_, _, keys, _] = self.expect(NAME, "key", key, dtype, like)?;
        self.expect(NAME, "value", value, dtype, [Some(batch), Some(heads), Some(keys), Some(size)])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let operation = Forward(DotProductAttention { batch, heads, queries, keys, size, causal });
        let outputs = [(self.shape(query).clone(), dtype), ([batch, heads, queries].into(), Dtype::F32)];
        Ok(self.push_as(operation, &ForwardInputs { query, key, value, lengths }.list(), outputs)[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "dot_product_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let ForwardInputs { query, key, value, lengths } = ForwardInputs::of(context.inputs)?;
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(context.outputs)?;
        let inputs = Inputs { query, key, value, lengths };
        let tile = Tile::choose(recorder.gpu(), self.0.size);
        self.0.record(recorder, tile, &inputs, context, log_sum_exp)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_context) = upstream[0] else { return Ok(vec![None; 4]) };
        let ForwardInputs { query, key, value, lengths } = ForwardInputs::of(inputs)?;
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(outputs)?;
        let mut made: Vec<_> = [query, key, value].map(|input| graph.like(*input)).to_vec();
        let DotProductAttention { batch, heads, queries, .. } = self.0;
        made.push(([batch, heads, queries, 2].into(), Dtype::F32));
        let from = BackwardInputs { query, key, value, lengths, context, log_sum_exp, d_context: &d_context };
        let gradients = graph.push_as(Backward(self.0), &from.map(|value| *value).list(), made);
        Ok(gradients[..3].iter().map(|gradient| Some(*gradient)).chain([None]).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "dot_product_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardOutputs { d_query, d_key, d_value, statistics } = BackwardOutputs::of(context.outputs)?;
        let BackwardInputs { query, key, value, lengths, context, log_sum_exp, d_context } =
            BackwardInputs::of(context.inputs)?;
        let inputs = Inputs { query, key, value, lengths };
        let tile = Tile::choose(recorder.gpu(), self.0.size);
        let saved = Saved { context, log_sum_exp, d_context, statistics };
        let gradients = Gradients { query: d_query, key: d_key, value: d_value };
        self.0.record_backward(recorder, tile, &inputs, &saved, &gradients)
    }
}
