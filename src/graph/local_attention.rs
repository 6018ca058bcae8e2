//! Alignment weights over a whole source or a window of it: [`crate::kernels::local_attention`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::local_attention::{Gradients, Inputs, LocalAttention, Outputs, Window},
};

/// The alignment of [`Graph::local_attention`].
#[derive(Clone, Copy, Debug)]
pub struct Alignment {
    /// `[B, T, S]`, f32 at any precision.
    pub weights: Value,
    /// `[B, T]`, f32: the centres of the windows, where there are any. They carry no gradient.
    pub centres: Option<Value>,
}

/// Inputs: scores, lengths (and shares). Outputs: weights (and centres).
#[derive(Debug)]
struct Forward(LocalAttention);

/// Inputs: weights, lengths, d_weights (and centres). Outputs: d_scores (and d_shares).
#[derive(Debug)]
struct Backward(LocalAttention);

impl Graph {
    /// Alignment weights of Luong et al. (2015), section 3: softmax of `scores` `[B, T, C]` over the positions of a source of
    /// `keys` steps, `lengths` `[B]` of them valid, that `window` lets each query see. [`Window::Predicted`] wants `shares`
    /// `[B, T]`, the centres as shares of the rows' lengths, and multiplies with a Gaussian around them; a graph has no counter for
    /// [`Window::Counted`]. Positions past C are not seen. Weights and shares carry gradients.
    ///
    /// # Errors
    /// [`Error::Shape`], also for shares that are missing or superfluous.
    pub fn local_attention(
        &mut self,
        scores: Value,
        lengths: Value,
        shares: Option<Value>,
        keys: usize,
        window: Window,
    ) -> Result<Alignment> {
        const NAME: &str = "local_attention";
        let [batch, queries, columns] = self.expect_float(NAME, "scores", scores, [None; 3])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        if let Some(shares) = shares {
            self.expect_float(NAME, "shares", shares, [Some(batch), Some(queries)])?;
        }
        if shares.is_some() != matches!(window, Window::Predicted { .. }) {
            let (wanted, got) =
                (format!("them for predicted centres alone, not for {window:?}"), format!("{shares:?}"));
            return Err(Error::Shape { operation: NAME, argument: "shares", wanted, got });
        }
        let operation = LocalAttention { batch, queries, keys, columns, window };
        let inputs: Vec<_> = [scores, lengths].into_iter().chain(shares).collect();
        let mut made = vec![([batch, queries, keys].into(), Dtype::F32)];
        if window != Window::Global {
            made.push(([batch, queries].into(), Dtype::F32));
        }
        let outputs = self.push_as(Forward(operation), &inputs, made);
        Ok(Alignment { weights: outputs[0], centres: outputs.get(1).copied() })
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "local_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        let inputs = Inputs { scores: &inputs[0], lengths: &inputs[1], shares: inputs.get(2), counter: None };
        self.0.record(recorder, &inputs, &Outputs { weights: &outputs[0], centres: outputs.get(1) })
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_weights) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let from = [&[outputs[0], inputs[1], d_weights], &outputs[1..]].concat();
        let made: Vec<_> = [inputs[0]].iter().chain(inputs.get(2)).map(|input| graph.like(*input)).collect();
        let gradients = graph.push_as(Backward(self.0), &from, made);
        Ok([Some(gradients[0]), None].into_iter().chain(gradients.get(1).map(|shares| Some(*shares))).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "local_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        let forward = Outputs { weights: &inputs[0], centres: inputs.get(3) };
        let gradients = Gradients { scores: &outputs[0], shares: outputs.get(1) };
        self.0.record_backward(recorder, &inputs[1], &forward, &inputs[2], &gradients)
    }
}
