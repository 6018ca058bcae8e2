//! Positions of texts: [`crate::kernels::positions`] as nodes.

use super::{Context, Graph, Operation, Source, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::positions::{Gradients, Inputs, Positions},
};

#[derive(Debug)]
struct Forward(Positions);

#[derive(Debug)]
struct Backward(Positions);

impl Graph {
    /// `y[b, t] = factor * x[b, t] + table[first + t]` for `x` `[B, T, D]` and a table of vectors `[P, D]` (Vaswani et al. 2017,
    /// sections 3.4 and 3.5): `[B, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], also for a table without a row for every step.
    pub fn positions(&mut self, x: Value, table: Value, first: usize, factor: f32) -> Result<Value> {
        let [batch, steps, size] = self.expect_float("positions", "x", x, [None; 3])?;
        let [places, _] = self.expect("positions", "table", table, Dtype::F32, [None, Some(size)])?;
        let positions = Positions { batch, steps, size, places, first, factor };
        positions.check()?;
        Ok(self.push_like(Forward(positions), &[x, table], x))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        self.0.record(recorder, &Inputs { x: &inputs[0], table: &inputs[1], counter: None }, &outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None, None]) };
        let is_constant = matches!(graph.values[inputs[1].0].source, Source::Constant(_));
        if is_constant && self.0.factor == 1.0 {
            return Ok(vec![Some(d_y), None]);
        }
        let made = [inputs[0], inputs[1]].map(|input| graph.like(input));
        let gradients = graph.push_as(Backward(self.0), &[d_y], made);
        Ok(vec![Some(gradients[0]), (!is_constant).then_some(gradients[1])])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        self.0.record_backward(recorder, &inputs[0], &Gradients { x: &outputs[0], table: &outputs[1] })
    }
}
