//! Sums: [`crate::kernels::reduction`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::reduction::{ColumnSum, Sum},
};

#[derive(Debug)]
struct Columns(ColumnSum);

#[derive(Debug)]
struct ColumnsBackward(ColumnSum);

#[derive(Debug)]
struct All(Sum);

#[derive(Debug)]
struct AllBackward(Sum);

impl Graph {
    /// The sum of all elements: `[1]`, f32.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn sum(&mut self, x: Value) -> Result<Value> {
        let sum = Sum { elements: self.elements("sum", "x", x)? };
        Ok(self.push_as(All(sum), &[x], [[1], [sum.scratch()]].map(|shape| (shape.into(), Dtype::F32)))[0])
    }

    /// The sum over all but the last extent: `[.., N]` to `[N]`, f32.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn column_sum(&mut self, x: Value) -> Result<Value> {
        self.elements("column_sum", "x", x)?;
        let sum = ColumnSum { rows: self.shape(x).rows(), columns: self.shape(x).last() };
        let outputs = [[sum.columns], [sum.scratch()]].map(|shape| (shape.into(), Dtype::F32));
        Ok(self.push_as(Columns(sum), &[x], outputs)[0])
    }
}

impl Operation for Columns {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], &context.outputs[1], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        Ok(vec![upstream[0].map(|d| graph.push_like(ColumnsBackward(self.0), &[d], inputs[0]))])
    }
}

impl Operation for ColumnsBackward {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.outputs[0])
    }
}

impl Operation for All {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], &context.outputs[1], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        Ok(vec![upstream[0].map(|d| graph.push_like(AllBackward(self.0), &[d], inputs[0]))])
    }
}

impl Operation for AllBackward {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.outputs[0])
    }
}
