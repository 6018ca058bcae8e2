//! Values that a loss is differentiated up to.

use super::{Context, Graph, InPlace, Operation, Value};
use crate::{Result, gpu::Recorder};

/// Another name of memory that is already right.
#[derive(Debug)]
struct StopGradient;

impl Graph {
    /// `x` as a constant: no gradient reaches what it was made from.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for anything but floats.
    pub fn stop_gradient(&mut self, x: Value) -> Result<Value> {
        self.elements("stop_gradient", "x", x)?;
        Ok(self.push_like(StopGradient, &[x], x))
    }
}

impl Operation for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn record(&self, _: &mut Recorder, _: &Context<'_>) -> Result<()> {
        Ok(())
    }

    fn gradient(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Result<Vec<Option<Value>>> {
        Ok(vec![None])
    }

    fn in_place(&self) -> Option<InPlace> {
        Some(InPlace::same(0))
    }
}
