//! Rows of a table by number: [`crate::kernels::embedding`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::{embedding::Embedding, matmul::Matrix},
};

#[derive(Debug)]
struct Forward(Embedding);

#[derive(Debug)]
struct Backward(Embedding);

impl Graph {
    /// The rows of `table` `[V, E]` that `tokens` `[..]` name: `[.., E]`, in the graph's precision. For a gradient of the table tokens
    /// are an input that is written by [`Program::write`](super::Program::write), or a constant: the host puts them in order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn embedding(&mut self, table: Value, tokens: Value) -> Result<Value> {
        self.look_up(table, tokens, None)
    }

    /// The same, where the row of the token `padding` gets no gradient, as with PyTorch's `padding_idx`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn embedding_with_padding(&mut self, table: Value, tokens: Value, padding: u32) -> Result<Value> {
        self.look_up(table, tokens, Some(padding))
    }

    fn look_up(&mut self, table: Value, tokens: Value, padding: Option<u32>) -> Result<Value> {
        let [vocabulary, size] = self.expect("embedding", "table", table, Dtype::F32, [None, None])?;
        let mut dims = self.dims(tokens).to_vec();
        match dims.as_slice() {
            [_, _] => self.expect("embedding", "tokens", tokens, Dtype::U32, [None, None]).map(|_| ())?,
            _ => self.expect("embedding", "tokens", tokens, Dtype::U32, [None]).map(|_| ())?,
        }
        let embedding = Embedding { vocabulary, size, tokens: dims.iter().product(), padding };
        dims.push(size);
        Ok(self.push_one(Forward(embedding), &[table, tokens], dims.as_slice()))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let y = Matrix::rows(&context.outputs[0]);
        self.0.record(recorder, &context.inputs[0], &context.inputs[1], y)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None, None]) };
        let order = graph.order_of(inputs[1], self.0)?;
        Ok(vec![Some(graph.push_like(Backward(self.0), &[order, d_y], inputs[0])), None])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let d_y = Matrix::rows(&context.inputs[1]);
        self.0.record_backward(recorder, &context.inputs[0], d_y, &context.outputs[0])
    }
}
