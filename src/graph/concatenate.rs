//! Tensors side by side along their last extent, and the reverse: [`crate::kernels::copy`] as nodes. Each is the other's gradient.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape},
    kernels::{copy::Copy, matmul::Matrix},
};

const NAME: &str = "concatenate";

/// Inputs: the parts. Output: the whole.
#[derive(Debug)]
struct Concatenate;

/// Input: the whole. Outputs: the parts.
#[derive(Debug)]
struct Split;

impl Graph {
    /// `parts` `[.., N1]`, `[.., N2]`, and so on, of one type and alike in all but their last extent, as `[.., N1 + N2 + ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`], also if there are no parts.
    pub fn concatenate(&mut self, parts: &[Value]) -> Result<Value> {
        let Some(first) = parts.first() else {
            let (wanted, got) = ("at least one tensor".into(), "none".into());
            return Err(Error::Shape { operation: NAME, argument: "parts", wanted, got });
        };
        let mut columns = 0;
        for part in parts {
            self.elements(NAME, "parts", *part)?;
            if self.leading(*part) != self.leading(*first) || self.dtype(*part) != self.dtype(*first) {
                let typed = |value: Value| format!("{} {}", self.dtype(value), self.shape(value));
                let wanted = format!("all extents but the last, and the type, of {}", typed(*first));
                return Err(Error::Shape { operation: NAME, argument: "parts", wanted, got: typed(*part) });
            }
            columns += self.shape(*part).last();
        }
        let made = (self.with_last(*first, columns), self.dtype(*first));
        Ok(self.push_as(Concatenate, parts, [made])[0])
    }

    /// Splits the last extent: `x` `[.., N]` as parts `[.., sizes[0]]`, `[.., sizes[1]]`, and so on.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not add up to N, or one is 0.
    pub fn split(&mut self, x: Value, sizes: &[usize]) -> Result<Vec<Value>> {
        self.elements("split", "x", x)?;
        if sizes.iter().sum::<usize>() != self.shape(x).last() || sizes.contains(&0) {
            let wanted = format!("sizes above 0 that add up to the last extent of {}", self.shape(x));
            return Err(Error::Shape { operation: "split", argument: "sizes", wanted, got: format!("{sizes:?}") });
        }
        let made: Vec<_> = sizes.iter().map(|size| (self.with_last(x, *size), self.dtype(x))).collect();
        Ok(self.push_as(Split, &[x], made))
    }

    /// The first `at` columns of `x` `[.., N]` and the others: `[.., at]` and `[.., N - at]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `at` is 0 or not below N.
    pub fn split_at(&mut self, x: Value, at: usize) -> Result<[Value; 2]> {
        let parts = self.split(x, &[at, self.shape(x).last().saturating_sub(at)])?;
        Ok([parts[0], parts[1]])
    }

    /// All extents but the last.
    fn leading(&self, value: Value) -> &[usize] {
        self.dims(value).split_last().map_or(&[], |(_, leading)| leading)
    }

    /// A value's shape with another last extent.
    pub(super) fn with_last(&self, value: Value, last: usize) -> Shape {
        [self.leading(value), &[last]].concat().as_slice().into()
    }
}

impl Operation for Concatenate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let whole = &context.outputs[0];
        let mut offset = 0;
        for part in context.inputs {
            let (rows, columns) = (part.shape().rows(), part.shape().last());
            let to = Matrix::rows(whole).offset(offset);
            Copy { rows, columns, batch: 1 }.record(recorder, Matrix::rows(part), None, to)?;
            offset += columns;
        }
        Ok(())
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_whole) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let sizes: Vec<_> = inputs.iter().map(|part| graph.shape(*part).last()).collect();
        Ok(graph.split(d_whole, &sizes)?.into_iter().map(Some).collect())
    }
}

impl Operation for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let whole = &context.inputs[0];
        let mut offset = 0;
        for part in context.outputs {
            let (rows, columns) = (part.shape().rows(), part.shape().last());
            let from = Matrix::rows(whole).offset(offset);
            Copy { rows, columns, batch: 1 }.record(recorder, from, None, Matrix::rows(part))?;
            offset += columns;
        }
        Ok(())
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        _: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let parts = outputs.iter().zip(upstream);
        let parts: Vec<_> = parts.map(|(part, d_part)| d_part.unwrap_or_else(|| graph.zeros_like(*part))).collect();
        Ok(vec![Some(graph.concatenate(&parts)?)])
    }
}
