//! Attention with relative positions: [`crate::kernels::relative_attention`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::relative_attention::{Gradients, Inputs, RelativeAttention, Saved},
};

operands! { ForwardInputs { queries, key, value, relative, lengths } }
operands! { ForwardOutputs { context, log_sum_exp } }
operands! { BackwardInputs { queries, key, value, relative, lengths, context, log_sum_exp, d_context } }
operands! { BackwardOutputs { queries, key, value, relative, statistics } }

/// What [`Graph::relative_attention`] attends with.
#[derive(Clone, Copy, Debug)]
pub struct RelativeQueries {
    /// `[B, T, 2·N·D]`: what keys are compared with, then what distances are.
    pub queries: Value,
    /// Heads, N.
    pub heads: usize,
    /// What scores are multiplied with.
    pub scale: f32,
}

#[derive(Debug)]
struct Forward(RelativeAttention);

#[derive(Debug)]
struct Backward(RelativeAttention);

impl Graph {
    /// The contexts `[B, T, N·D]` of queries among `key` and `value` `[B, S, N·D]`, the last T of which are their own places' and which
    /// are compared by what they hold and by their distance, whose vectors are `relative` `[S, N·D]` from distance 0 on; masked by
    /// `lengths` `[B]` and to each query's own place (Dai et al. 2019, section 3.3).
    ///
    /// # Errors
    /// [`Error::Shape`], also for heads that do not divide the width and fewer keys than queries.
    pub fn relative_attention(
        &mut self,
        RelativeQueries { queries, heads, scale }: RelativeQueries,
        [key, value]: [Value; 2],
        relative: Value,
        lengths: Value,
    ) -> Result<Value> {
        const NAME: &str = "relative_attention";
        let [batch, steps, both] = self.expect_float(NAME, "queries", queries, [None; 3])?;
        let (dtype, width) = (self.dtype(queries), both / 2);
        let [_, keys, _] = self.expect(NAME, "key", key, dtype, [Some(batch), None, Some(width)])?;
        self.expect(NAME, "value", value, dtype, [Some(batch), Some(keys), Some(width)])?;
        self.expect(NAME, "relative", relative, dtype, [Some(keys), Some(width)])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        if heads == 0 || width % heads != 0 || both % 2 != 0 {
            let (wanted, got) = (format!("a number that divides half of the width {both}"), heads.to_string());
            return Err(Error::Shape { operation: NAME, argument: "heads", wanted, got });
        }
        if keys < steps {
            let (wanted, got) = (format!("at least as many as the {steps} queries"), keys.to_string());
            return Err(Error::Shape { operation: NAME, argument: "keys", wanted, got });
        }
        let attention = RelativeAttention { batch, heads, queries: steps, keys, size: width / heads, scale };
        let inputs = ForwardInputs { queries, key, value, relative, lengths };
        let made = [([batch, steps, width].into(), dtype), ([batch, heads, steps].into(), Dtype::F32)];
        Ok(self.push_as(Forward(attention), &inputs.list(), made)[0])
    }
}

impl<'a> ForwardInputs<&'a Tensor> {
    fn of_kernel(self) -> Inputs<'a> {
        let Self { queries, key, value, relative, lengths } = self;
        Inputs { queries, key, value, relative, lengths }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "relative_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let inputs = ForwardInputs::of(context.inputs)?.of_kernel();
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(context.outputs)?;
        self.0.record(recorder, &inputs, context, log_sum_exp)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_context) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let ForwardInputs { queries, key, value, relative, lengths } = ForwardInputs::of(inputs)?.map(|value| *value);
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(outputs)?.map(|value| *value);
        let from = BackwardInputs { queries, key, value, relative, lengths, context, log_sum_exp, d_context };
        let statistics = ([self.0.statistics()].into(), Dtype::F32);
        let made = [queries, key, value, relative].map(|input| graph.like(input)).into_iter().chain([statistics]);
        let gradients = graph.push_as(Backward(self.0), &from.list(), made);
        Ok(gradients.into_iter().take(4).map(Some).chain([None]).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "relative_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardInputs { queries, key, value, relative, lengths, context: made, log_sum_exp, d_context } =
            BackwardInputs::of(context.inputs)?;
        let inputs = Inputs { queries, key, value, relative, lengths };
        let outputs = BackwardOutputs::of(context.outputs)?;
        let saved = Saved { context: made, log_sum_exp, d_context, statistics: outputs.statistics };
        let gradients =
            Gradients { queries: outputs.queries, key: outputs.key, value: outputs.value, relative: outputs.relative };
        self.0.record_backward(recorder, &inputs, &saved, &gradients)
    }
}
