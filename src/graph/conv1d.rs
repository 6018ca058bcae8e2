//! Convolution along time: the windows of [`crate::kernels::conv1d`] as nodes, and a product.

use super::{Context, Epilogue, Graph, Operation, Value};
use crate::{
    Result,
    gpu::{Dtype, Recorder},
    kernels::conv1d::{Conv1d, Padding},
};

/// Input: x. Output: windows.
#[derive(Debug)]
struct Windows(Conv1d);

/// Input: d_windows. Output: d_x.
#[derive(Debug)]
struct WindowsBackward(Conv1d);

impl Graph {
    /// Convolution of `x` `[B, T, C]` along time with `weight` `[O, C, width]`, as PyTorch stores it, plus `bias` `[O]`: `[B, T, O]`
    /// (Gehring et al. 2017, section 3.2). At its ends `x` is followed by zeros.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn conv1d(&mut self, x: Value, weight: Value, bias: Option<Value>, padding: Padding) -> Result<Value> {
        const NAME: &str = "conv1d";
        let [batch, steps, channels] = self.expect_float(NAME, "x", x, [None; 3])?;
        let wanted = [None, Some(channels), None];
        let [outputs, _, width] = self.expect(NAME, "weight", weight, Dtype::F32, wanted)?;
        let windows = Conv1d { batch, steps, channels, width, padding };
        let made = ([batch, steps, width * channels].into(), self.dtype(x));
        let windows = self.push_as(Windows(windows), &[x], [made])[0];
        let weight = self.permute(weight, &[0, 2, 1])?;
        let weight = self.reshape(weight, [outputs, width * channels])?;
        self.linear(windows, weight, Epilogue { bias, ..Epilogue::default() })
    }
}

impl Operation for Windows {
    fn name(&self) -> &'static str {
        "conv1d"
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
        Ok(vec![upstream[0].map(|d_windows| graph.push_like(WindowsBackward(self.0), &[d_windows], inputs[0]))])
    }
}

impl Operation for WindowsBackward {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &context.inputs[0], &context.outputs[0])
    }
}
