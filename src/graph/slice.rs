//! A part of a tensor along one extent: [`crate::kernels::copy`] as nodes.

use std::ops::Range;

use super::{Context, Graph, Operation, Value, select::copy};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape, Tensor, product},
    kernels::{copy::Copy, matmul::Matrix},
};

/// Where a part lies: of each of `rows` runs of `whole` elements those from `first` on, `part` of them.
#[derive(Clone, Copy, Debug)]
struct Part {
    rows: usize,
    whole: usize,
    first: usize,
    part: usize,
}

#[derive(Debug)]
struct Forward(Part);

/// Inputs: zeros of the whole shape, the gradient of the part.
#[derive(Debug)]
struct Backward(Part);

impl Graph {
    /// The entries of `x` whose number along extent `extent` lies in `range`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such extent, or the range is empty or reaches past it.
    pub fn slice(&mut self, x: Value, extent: usize, range: Range<usize>) -> Result<Value> {
        self.elements("slice", "x", x)?;
        let mut dims = self.dims(x).to_vec();
        let known = dims.get(extent).is_some_and(|count| range.start < range.end && range.end <= *count);
        if !known {
            return Err(Error::Shape {
                operation: "slice",
                argument: "range",
                wanted: format!("entries of extent {extent} of {}", self.shape(x)),
                got: format!("{range:?}"),
            });
        }
        let (outer, inner) = (product(&dims[..extent]), product(&dims[extent + 1..]));
        let part =
            Part { rows: outer, whole: dims[extent] * inner, first: range.start * inner, part: range.len() * inner };
        dims[extent] = range.len();
        let made = (Shape::from(dims.as_slice()), self.dtype(x));
        Ok(self.push_as(Forward(part), &[x], [made])[0])
    }
}

impl Part {
    /// The part inside of the whole tensor.
    fn of_whole<'a>(&self, tensor: &'a Tensor) -> Matrix<'a> {
        Matrix { tensor, offset: self.first, stride: self.whole, batch_stride: 0 }
    }

    /// The part as a tensor of its own.
    fn alone<'a>(&self, tensor: &'a Tensor) -> Matrix<'a> {
        Matrix { tensor, offset: 0, stride: self.part, batch_stride: 0 }
    }

    fn copy(&self) -> Copy {
        Copy { rows: self.rows, columns: self.part, batch: 1 }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (x, y) = (self.0.of_whole(&context.inputs[0]), self.0.alone(&context.outputs[0]));
        self.0.copy().record(recorder, x, None, y)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let x = inputs[0];
        Ok(vec![upstream[0].map(|d_y| {
            let zeros = graph.zeros_like(x);
            graph.push_like(Backward(self.0), &[zeros, d_y], x)
        })])
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (zeros, d_y, d_x) = (&context.inputs[0], &context.inputs[1], &context.outputs[0]);
        copy(recorder, (zeros, 0), (d_x, 0), d_x.elements())?;
        self.0.copy().record(recorder, self.0.alone(d_y), None, self.0.of_whole(d_x))
    }
}
