//! Another shape over the same memory.

use super::{Context, Graph, InPlace, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape},
};

/// Another name of memory that is already right.
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
        let dtype = self.dtype(x);
        Ok(self.push_as(Reshape, &[x], [(shape, dtype)])[0])
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
        Ok(vec![upstream[0].map(|d_y| graph.push_like(Reshape, &[d_y], inputs[0]))])
    }

    fn in_place(&self) -> Option<InPlace> {
        Some(InPlace::same(0))
    }
}
