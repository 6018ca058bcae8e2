//! Additive attention: [`crate::kernels::additive_attention`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::{
        additive_attention::{self, AdditiveAttention, Gradients, Inputs, KeyGradients, Tile},
        matmul::Matrix,
    },
};

operands! { ForwardInputs { query, key, energy, value, lengths } }
operands! { ForwardOutputs { context, weights } }
operands! {
    /// Operands of the backward after [`ForwardInputs`]; d_weights may follow.
    BackwardInputs { weights, d_context }
}
operands! {
    /// Gradients; `d_energy` `[B, T, S]` and `scratch` serve the kernels alone.
    BackwardOutputs { d_query, d_key, d_energy_vector, d_value, d_energy, scratch }
}

#[derive(Debug)]
struct Forward(AdditiveAttention);

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
        let outputs = self.push_as(operation, &ForwardInputs { query, key, energy, value, lengths }.list(), made);
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

fn inputs(tensors: ForwardInputs<&Tensor>) -> Inputs<'_> {
    let ForwardInputs { query, key, energy, value, lengths } = tensors;
    Inputs { query: Matrix::batch(query), key, energy, value, lengths }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "additive_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), &self.0);
        let inputs = inputs(ForwardInputs::of(context.inputs)?);
        let ForwardOutputs { context, weights } = ForwardOutputs::of(context.outputs)?;
        self.0.record(recorder, tile, &inputs, Matrix::batch(context), Some(Matrix::batch(weights)))
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let ForwardInputs { query, key, energy, value, .. } = ForwardInputs::of(inputs)?;
        let ForwardOutputs { context, weights } = ForwardOutputs::of(outputs)?;
        // A gradient of the weights alone still needs one of the context: zeros.
        let d_context = upstream[0].unwrap_or_else(|| graph.zeros_like(*context));
        let mut made = [query, key, energy, value, weights].map(|like| graph.like(*like)).to_vec();
        made.push(([self.0.scratch()].into(), Dtype::F32));
        let mut from = [inputs, &BackwardInputs { weights: *weights, d_context }.list()].concat();
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
        let (forward, rest) = ForwardInputs::first_of(context.inputs)?;
        let (BackwardInputs { weights, d_context }, d_weights) = BackwardInputs::first_of(rest)?;
        let BackwardOutputs { d_query, d_key, d_energy_vector, d_value, d_energy, scratch } =
            BackwardOutputs::of(context.outputs)?;
        let tile = Tile::choose(recorder.gpu(), &self.0);
        let backward = additive_attention::Backward {
            inputs: inputs(forward),
            weights: Matrix::batch(weights),
            d_context: Matrix::batch(d_context),
            d_weights: d_weights.first().map(Matrix::batch),
            d_energy: Matrix::batch(d_energy),
        };
        let of_keys = KeyGradients { key: d_key, energy: d_energy_vector, value: d_value };
        let gradients = Gradients { query: Matrix::batch(d_query), of_keys };
        self.0.record_backward(recorder, tile, &backward, scratch, &gradients)
    }
}
