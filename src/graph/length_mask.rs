//! Steps past a length set to 0: [`crate::kernels::length_mask`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::length_mask::LengthMask,
};

/// Inputs: x or d_y, lengths. Output: y or d_x.
#[derive(Debug)]
struct Mask(LengthMask);

impl Graph {
    /// `x` `[B, T, C]` with 0 in the steps from `lengths` `[B]` on; with `root` times the root of each sequence's length (Gehring et
    /// al. 2017, section 3.4).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn length_mask(&mut self, x: Value, lengths: Value, root: bool) -> Result<Value> {
        let [batch, steps, channels] = self.expect_float("length_mask", "x", x, [None; 3])?;
        self.expect("length_mask", "lengths", lengths, Dtype::U32, [Some(batch)])?;
        Ok(self.push_like(Mask(LengthMask { batch, steps, channels, root }), &[x, lengths], x))
    }
}

impl Operation for Mask {
    fn name(&self) -> &'static str {
        "length_mask"
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
        let d_x = upstream[0].map(|d_y| graph.push_like(Mask(self.0), &[d_y, inputs[1]], inputs[0]));
        Ok(vec![d_x, None])
    }
}
