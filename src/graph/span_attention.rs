//! Attention over a learned span: [`crate::kernels::span_attention`] as nodes.

use super::{Context, Graph, Operation, Value, operands::operands};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::span_attention::{Gradients, Inputs, Saved, SpanAttention},
};

operands! { ForwardInputs { query, key, value, position, spans } }
operands! { ForwardOutputs { context, log_sum_exp } }
operands! { BackwardInputs { query, key, value, position, spans, context, log_sum_exp, d_context } }
operands! { BackwardOutputs { query, key, value, position, spans, statistics, of_positions, of_spans, sums } }

/// What [`Graph::span_attention`] attends with.
#[derive(Clone, Copy, Debug)]
pub struct SpanQueries {
    /// `[B, T, N·D]`
    pub query: Value,
    /// `[N]`, f32: each head's span, in positions.
    pub spans: Value,
    /// The distances over which a mask falls from 1 to 0.
    pub ramp: f32,
    /// What scores are multiplied with.
    pub scale: f32,
}

#[derive(Debug)]
struct Forward(SpanAttention);

#[derive(Debug)]
struct Backward(SpanAttention);

impl Graph {
    /// The contexts `[B, T, N·D]` of queries among `key` and `value` `[B, S, N·D]`, the last T of which are their own places'. A query
    /// sees those behind its own, by what they hold and by the vector of their distance, `position` `[L, D]`, f32, from 1 on, as far as
    /// its head's span reaches; before the first there are zeros (Sukhbaatar et al. 2019, section 2).
    ///
    /// # Errors
    /// [`Error::Shape`], also for as many spans as do not divide the width and fewer keys than queries.
    pub fn span_attention(
        &mut self,
        SpanQueries { query, spans, ramp, scale }: SpanQueries,
        [key, value]: [Value; 2],
        position: Value,
    ) -> Result<Value> {
        const NAME: &str = "span_attention";
        let [batch, steps, width] = self.expect_float(NAME, "query", query, [None; 3])?;
        let dtype = self.dtype(query);
        let [_, keys, _] = self.expect(NAME, "key", key, dtype, [Some(batch), None, Some(width)])?;
        self.expect(NAME, "value", value, dtype, [Some(batch), Some(keys), Some(width)])?;
        let [heads] = self.expect(NAME, "spans", spans, Dtype::F32, [None])?;
        if !width.is_multiple_of(heads) {
            let (wanted, got) = (format!("a number that divides the width {width}"), heads.to_string());
            return Err(Error::Shape { operation: NAME, argument: "spans", wanted, got });
        }
        let size = width / heads;
        let [limit, _] = self.expect(NAME, "position", position, Dtype::F32, [None, Some(size)])?;
        if keys < steps {
            let (wanted, got) = (format!("at least as many as the {steps} queries"), keys.to_string());
            return Err(Error::Shape { operation: NAME, argument: "keys", wanted, got });
        }
        let attention = SpanAttention { batch, heads, queries: steps, keys, size, limit, ramp, scale };
        let inputs = ForwardInputs { query, key, value, position, spans };
        let made = [([batch, steps, width].into(), dtype), ([batch, heads, steps].into(), Dtype::F32)];
        Ok(self.push_as(Forward(attention), &inputs.list(), made)[0])
    }
}

impl<'a> ForwardInputs<&'a Tensor> {
    fn of_kernel(self) -> Inputs<'a> {
        let Self { query, key, value, position, spans } = self;
        Inputs { query, key, value, position, spans }
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "span_attention"
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
        let ForwardInputs { query, key, value, position, spans } = ForwardInputs::of(inputs)?.map(|value| *value);
        let ForwardOutputs { context, log_sum_exp } = ForwardOutputs::of(outputs)?.map(|value| *value);
        let from = BackwardInputs { query, key, value, position, spans, context, log_sum_exp, d_context };
        let made = [query, key, value, position, spans].map(|input| graph.like(input));
        let scratch = self.0.scratch().map(|elements| ([elements].into(), Dtype::F32));
        let gradients = graph.push_as(Backward(self.0), &from.list(), made.into_iter().chain(scratch));
        Ok(gradients.into_iter().take(inputs.len()).map(Some).collect())
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "span_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let BackwardInputs { query, key, value, position, spans, context: made, log_sum_exp, d_context } =
            BackwardInputs::of(context.inputs)?;
        let inputs = Inputs { query, key, value, position, spans };
        let outputs = BackwardOutputs::of(context.outputs)?;
        let scratch = [outputs.statistics, outputs.of_positions, outputs.of_spans, outputs.sums];
        let saved = Saved { context: made, log_sum_exp, d_context, scratch };
        let BackwardOutputs { query, key, value, position, spans, .. } = outputs;
        let gradients = Gradients { query, key, value, position, spans };
        self.0.record_backward(recorder, &inputs, &saved, &gradients)
    }
}
