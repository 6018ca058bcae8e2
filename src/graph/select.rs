//! Selection of one entry of the first extent: [`crate::kernels::copy`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape, Tensor},
    kernels::{copy::Copy, matmul::Matrix},
};

#[derive(Debug)]
struct Forward {
    index: usize,
}

/// Inputs: how many rows of each entry are the gradient's, 1 or 0, and the gradient of the one entry.
#[derive(Debug)]
struct Backward;

impl Graph {
    /// Entry `index` of the first extent: `[D, ..]` to `[..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such entry.
    pub fn select(&mut self, x: Value, index: usize) -> Result<Value> {
        self.elements("select", "x", x)?;
        match self.dims(x) {
            [first, rest @ ..] if index < *first && !rest.is_empty() => {
                let output = (Shape::from(rest), self.dtype(x));
                Ok(self.push_as(Forward { index }, &[x], [output])[0])
            }
            _ => Err(Error::Shape {
                operation: "select",
                argument: "index",
                wanted: format!("an entry of the first extent of {}", self.shape(x)),
                got: index.to_string(),
            }),
        }
    }
}

/// All of `from`, as one row, to element `offset` of `to`, or from there.
pub(super) fn copy(
    recorder: &mut Recorder,
    from: (&Tensor, usize),
    to: (&Tensor, usize),
    elements: usize,
) -> Result<()> {
    let row = |(tensor, offset)| Matrix { tensor, offset, stride: elements, batch_stride: 0 };
    Copy { rows: 1, columns: elements, batch: 1 }.record(recorder, row(from), None, row(to))
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "select"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (x, y) = (&context.inputs[0], &context.outputs[0]);
        copy(recorder, (x, self.index * y.elements()), (y, 0), y.elements())
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let x = inputs[0];
        let Some(d_y) = upstream[0] else { return Ok(vec![None]) };
        let entries = graph.dims(x).first().copied().unwrap_or_default();
        let chosen = graph.numbers([entries], (0..entries).map(|entry| u32::from(entry == self.index)).collect())?;
        Ok(vec![Some(graph.push_like(Backward, &[chosen, d_y], x))])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "select"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (chosen, d_y, d_x) = (&context.inputs[0], &context.inputs[1], &context.outputs[0]);
        let columns = d_y.elements();
        let entries = |tensor, batch_stride| Matrix { tensor, offset: 0, stride: columns, batch_stride };
        let copy = Copy { rows: 1, columns, batch: chosen.elements() };
        copy.record(recorder, entries(d_y, 0), Some(chosen), entries(d_x, columns))
    }
}
