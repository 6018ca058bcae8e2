//! Another shape over the same memory.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape},
};

/// Works in place on memory that is already right.
#[derive(Debug)]
struct Reshape;

impl Graph {
    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers of elements differ.
    pub fn reshape(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        if self.elements("reshape", "x", x)? != shape.elements() {
            return Err(Error::Shape {
                operation: "reshape",
                argument: "shape",
                wanted: format!("as many elements as {}", self.shape(x)),
                got: shape.to_string(),
            });
        }
        Ok(self.push_one(Reshape, &[x], shape))
    }
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn record(&self, _: &mut Recorder, _: &Context<'_>) -> Result<()> {
        Ok(())
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let shape = graph.shape(inputs[0]).clone();
        Ok(vec![upstream[0].map(|d_y| graph.push_one(Reshape, &[d_y], shape))])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
