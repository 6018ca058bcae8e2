//! The gated linear unit: [`crate::kernels::glu`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{Error, Result, gpu::Recorder, kernels::glu::Glu};

#[derive(Debug)]
struct Forward(Glu);

/// Inputs: x, d_y. Output: d_x.
#[derive(Debug)]
struct Backward(Glu);

impl Graph {
    /// `a · sigmoid(b)` of the halves of the rows `[a; b]` of `x` `[.., 2N]`: `[.., N]` (Dauphin et al. 2017, section 2).
    ///
    /// # Errors
    /// [`Error::Shape`], also for rows of an odd number of elements.
    pub fn glu(&mut self, x: Value) -> Result<Value> {
        self.elements("glu", "x", x)?;
        let wide = self.shape(x).last();
        if !wide.is_multiple_of(2) {
            let (wanted, got) = ("rows of two halves".into(), self.shape(x).to_string());
            return Err(Error::Shape { operation: "glu", argument: "x", wanted, got });
        }
        let glu = Glu { rows: self.shape(x).rows(), columns: wide / 2 };
        let made = (self.with_last(x, glu.columns), self.dtype(x));
        Ok(self.push_as(Forward(glu), &[x], [made])[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "glu"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        Ok(vec![upstream[0].map(|d_y| graph.push_like(Backward(self.0), &[inputs[0], d_y], inputs[0]))])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "glu"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.inputs[1], &context.outputs[0])
    }
}
