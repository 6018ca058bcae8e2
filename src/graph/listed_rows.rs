//! A few rows of each sequence, by a list of their positions: [`crate::kernels::listed_rows`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::listed_rows::ListedRows,
};

const NAME: &str = "listed_rows";

/// Inputs: x, positions. Output: y.
#[derive(Debug)]
struct Take(ListedRows);

/// Inputs: positions, and behind them the base, the rows, or both. Output: y.
#[derive(Debug)]
struct Put {
    rows: ListedRows,
    has_base: bool,
    has_rows: bool,
}

impl Graph {
    /// The rows of `x` `[B, T, D]` at `positions` `[B, G]`, u32: `[B, G, D]`. A sequence's positions are in ascending order, each once;
    /// those of T or more are none, and rows of 0.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn listed_rows(&mut self, x: Value, positions: Value) -> Result<Value> {
        let [batch, steps, size] = self.expect_float(NAME, "x", x, [None; 3])?;
        let [_, listed] = self.expect(NAME, "positions", positions, Dtype::U32, [Some(batch), None])?;
        let made = ([batch, listed, size].into(), self.dtype(x));
        Ok(self.push_as(Take(ListedRows { batch, steps, listed, size }), &[x, positions], [made])[0])
    }

    /// `base` `[B, T, D]` with `rows` `[B, G, D]` in the place of those at `positions`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn put_listed_rows(&mut self, base: Value, rows: Value, positions: Value) -> Result<Value> {
        let [batch, steps, size] = self.expect_float(NAME, "base", base, [None; 3])?;
        let dtype = self.dtype(base);
        let [_, listed, _] = self.expect(NAME, "rows", rows, dtype, [Some(batch), None, Some(size)])?;
        self.expect(NAME, "positions", positions, Dtype::U32, [Some(batch), Some(listed)])?;
        let put = Put { rows: ListedRows { batch, steps, listed, size }, has_base: true, has_rows: true };
        Ok(self.push_like(put, &[positions, base, rows], base))
    }
}

impl Operation for Take {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], &context.inputs[1], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let put = Put { rows: self.0, has_base: false, has_rows: true };
        Ok(vec![upstream[0].map(|d_y| graph.push_like(put, &[inputs[1], d_y], inputs[0])), None])
    }
}

impl Operation for Put {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let mut given = context.inputs[1..].iter();
        let base = if self.has_base { given.next() } else { None };
        let rows = if self.has_rows { given.next() } else { None };
        self.rows.record_put(recorder, base, rows, &context.inputs[0], &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let positions = inputs[0];
        let mut gradients = vec![None];
        if self.has_base {
            let put = Put { rows: self.rows, has_base: true, has_rows: false };
            gradients.push(Some(graph.push_like(put, &[positions, d_y], d_y)));
        }
        if self.has_rows {
            let like = graph.like(inputs[inputs.len() - 1]);
            gradients.push(Some(graph.push_as(Take(self.rows), &[d_y, positions], [like])[0]));
        }
        Ok(gradients)
    }
}
