//! Additive attention: [`crate::kernels::additive_attention`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::{
        additive_attention::{AdditiveAttention, Gradients, Inputs, Tile},
        matmul::Matrix,
    },
};

/// Inputs: query, key, energy, value, lengths. Outputs: context, weights.
#[derive(Debug)]
struct Forward(AdditiveAttention);

/// Inputs: query, key, energy, value, lengths, weights, d_context (and d_weights).
/// Outputs: d_query, d_key, d_energy_vector, d_value; scratch: d_energy [B, T, S], partial sums.
#[derive(Debug)]
struct Backward(AdditiveAttention);

impl Graph {
    /// Soft alignment (Bahdanau et al. 2015, appendix A.1.2): scores `energy·tanh(query + key)`, softmax over the first
    /// `lengths[b]` keys, weighted sum of `value`. `query` `[B, T, A]` and `key` `[B, S, A]` arrive projected, `energy` is `[A]`
    /// (or `[1, A]`), `value` `[B, S, V]`, `lengths` `[B]`. Returns the context `[B, T, V]` and the weights `[B, T, S]`, which are f32
    /// at any precision; both carry gradients.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn additive_attention(
        &mut self,
        query: Value,
        key: Value,
        energy: Value,
        value: Value,
        lengths: Value,
    ) -> Result<(Value, Value)> {
        const NAME: &str = "additive_attention";
        let [batch, queries, size] = self.expect_float(NAME, "query", query, [None; 3])?;
        let dtype = self.dtype(query);
        let [_, keys, _] = self.expect(NAME, "key", key, dtype, [Some(batch), None, Some(size)])?;
        self.expect_vector(NAME, "energy", energy, size)?;
        let [_, _, value_size] = self.expect(NAME, "value", value, dtype, [Some(batch), Some(keys), None])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let operation = Forward(AdditiveAttention { batch, queries, keys, size, value_size });
        let made = [([batch, queries, value_size].into(), dtype), ([batch, queries, keys].into(), Dtype::F32)];
        let outputs = self.push_as(operation, &[query, key, energy, value, lengths], made);
        Ok((outputs[0], outputs[1]))
    }

    /// Checks a vector that a layer may hold as `[size]` or, like the weight of a layer with one output, as `[1, size]`.
    pub(super) fn expect_vector(
        &self,
        operation: &'static str,
        argument: &'static str,
        value: Value,
        size: usize,
    ) -> Result<()> {
        if self.dims(value).len() == 2 {
            self.expect(operation, argument, value, Dtype::F32, [Some(1), Some(size)]).map(|_| ())
        } else {
            self.expect(operation, argument, value, Dtype::F32, [Some(size)]).map(|_| ())
        }
    }
}

fn inputs(tensors: &[Tensor]) -> Inputs<'_> {
    let [query, key, energy, value, lengths, ..] = tensors else { unreachable!("five inputs are pushed") };
    Inputs { query: Matrix::batch(query), key, energy, value, lengths }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "additive_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), &self.0);
        let (output, weights) = (Matrix::batch(&context.outputs[0]), Matrix::batch(&context.outputs[1]));
        self.0.record(recorder, tile, &inputs(context.inputs), output, Some(weights))
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        // A gradient of the weights alone still needs one of the context: zeros.
        let d_context = match upstream[0] {
            Some(d_context) => d_context,
            None => graph.zeros_like(outputs[0]),
        };
        let mut made: Vec<_> = inputs[..4].iter().map(|input| graph.like(*input)).collect();
        made.push(graph.like(outputs[1]));
        made.push(([self.0.scratch()].into(), Dtype::F32));
        let mut from = [inputs, &[outputs[1], d_context]].concat();
        from.extend(upstream[1]);
        let gradients = graph.push_as(Backward(self.0), &from, made);
        Ok(gradients[..4].iter().map(|gradient| Some(*gradient)).chain([None]).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "additive_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let inputs = inputs(context.inputs);
        let (weights, d_context) = (Matrix::batch(&context.inputs[5]), Matrix::batch(&context.inputs[6]));
        let d_weights = context.inputs.get(7).map(Matrix::batch);
        let [d_query, d_key, d_vector, d_value, d_energy, scratch] = context.outputs else {
            unreachable!("six outputs are pushed")
        };
        let tile = Tile::choose(recorder.gpu(), &self.0);
        let (d_query, d_energy) = (Matrix::batch(d_query), Matrix::batch(d_energy));
        let gradients = Gradients { query: d_query, key: d_key, energy: d_vector, value: d_value };
        self.0.record_backward(recorder, tile, &inputs, weights, d_context, d_weights, d_energy, scratch, &gradients)
    }
}
