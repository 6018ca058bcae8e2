//! The scores of additive attention by themselves: [`crate::kernels::additive_score`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::additive_score::{AdditiveScore, Gradients, Inputs},
};

/// Inputs: query, key, energy, lengths. Output: scores.
#[derive(Debug)]
struct Forward(AdditiveScore);

/// Inputs: query, key, energy, lengths, d_scores. Outputs: d_query, d_key, d_energy; scratch.
#[derive(Debug)]
struct Backward(AdditiveScore);

impl Graph {
    /// Scores `energy·tanh(query + key)` (Luong et al. 2015, equation 8, "concat") of `query` `[B, T, A]` and `key` `[B, S, A]`,
    /// which arrive projected, for `energy` `[A]` (or `[1, A]`): `[B, T, S]`, f32 at any precision, 0 at and past `lengths` `[B]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn additive_score(&mut self, query: Value, key: Value, energy: Value, lengths: Value) -> Result<Value> {
        const NAME: &str = "additive_score";
        let [batch, queries, size] = self.expect_float(NAME, "query", query, [None; 3])?;
        let [_, keys, _] = self.expect(NAME, "key", key, self.dtype(query), [Some(batch), None, Some(size)])?;
        self.expect_vector(NAME, "energy", energy, size)?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let operation = Forward(AdditiveScore { batch, queries, keys, size });
        let scores = ([batch, queries, keys].into(), Dtype::F32);
        Ok(self.push_as(operation, &[query, key, energy, lengths], [scores])[0])
    }
}

fn inputs(tensors: &[Tensor]) -> Inputs<'_> {
    Inputs { query: &tensors[0], key: &tensors[1], energy: &tensors[2], lengths: &tensors[3] }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "additive_score"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &inputs(context.inputs), &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_scores) = upstream[0] else { return Ok(vec![None; 4]) };
        let mut made: Vec<_> = inputs[..3].iter().map(|input| graph.like(*input)).collect();
        made.push(([self.0.scratch()].into(), Dtype::F32));
        let gradients = graph.push_as(Backward(self.0), &[inputs, &[d_scores]].concat(), made);
        Ok(gradients[..3].iter().map(|gradient| Some(*gradient)).chain([None]).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "additive_score"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs: from, outputs, .. } = context;
        let gradients = Gradients { query: &outputs[0], key: &outputs[1], energy: &outputs[2] };
        self.0.record_backward(recorder, &inputs(from), &from[4], &outputs[3], &gradients)
    }
}
