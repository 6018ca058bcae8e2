//! Layer normalisation: [`crate::kernels::layer_norm`] as nodes.

use super::{Context, Graph, Operation, Value, operands::missing};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::layer_norm::{Backward, Inputs, LayerNorm, Norm, Outputs, Parameters},
};

/// Inputs: x, gain (and bias). Outputs: y, statistics.
#[derive(Debug)]
struct Forward(LayerNorm);

/// Inputs: x, gain, statistics, d_y. Output: d_x.
#[derive(Debug)]
struct OfInput(LayerNorm);

/// Inputs: x, gain, statistics, d_y. Outputs: d_gain, its scratch (and d_bias, its scratch).
#[derive(Debug)]
struct OfParameters(LayerNorm);

impl Graph {
    /// Layer normalisation of the rows of `x` `[.., D]` (Ba et al. 2016, section 3): less their mean, over the root of
    /// their variance and `epsilon`, times `gain` `[D]`, plus `bias` `[D]`.
    ///
    /// # Errors
    /// [`Error::Shape`], also for an `epsilon` that is not above 0.
    pub fn layer_norm(&mut self, x: Value, gain: Value, bias: Option<Value>, epsilon: f32) -> Result<Value> {
        self.norm(Norm::Layer, x, gain, bias, epsilon)
    }

    /// Root mean square layer normalisation of the rows of `x` `[.., D]` (Zhang and Sennrich 2019, section 4): over the root of
    /// their mean square and `epsilon`, times `gain` `[D]`.
    ///
    /// # Errors
    /// [`Error::Shape`], also for an `epsilon` that is not above 0.
    pub fn rms_norm(&mut self, x: Value, gain: Value, epsilon: f32) -> Result<Value> {
        self.norm(Norm::Rms, x, gain, None, epsilon)
    }

    fn norm(&mut self, norm: Norm, x: Value, gain: Value, bias: Option<Value>, epsilon: f32) -> Result<Value> {
        const NAME: &str = "layer_norm";
        self.elements(NAME, "x", x)?;
        let (rows, columns) = (self.shape(x).rows(), self.shape(x).last());
        self.expect(NAME, "gain", gain, Dtype::F32, [Some(columns)])?;
        if let Some(bias) = bias {
            self.expect(NAME, "bias", bias, Dtype::F32, [Some(columns)])?;
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            let (wanted, got) = ("a number above 0".into(), epsilon.to_string());
            return Err(Error::Shape { operation: NAME, argument: "epsilon", wanted, got });
        }
        let inputs: Vec<_> = [x, gain].into_iter().chain(bias).collect();
        let made = [self.like(x), ([rows, 2].into(), Dtype::F32)];
        Ok(self.push_as(Forward(LayerNorm { rows, columns, norm, epsilon }), &inputs, made)[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let Context { inputs, outputs, .. } = context;
        let inputs = Inputs { x: &inputs[0], gain: &inputs[1], bias: inputs.get(2) };
        self.0.record(recorder, &inputs, &Outputs { y: &outputs[0], statistics: &outputs[1] })
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let from = [inputs[0], inputs[1], outputs[1], d_y];
        let d_x = graph.push_like(OfInput(self.0), &from, inputs[0]);
        let each = [[self.0.columns], [self.0.scratch()]].map(|shape| (shape.into(), Dtype::F32));
        let made = inputs[1..].iter().flat_map(|_| each.clone());
        let of_parameters = graph.push_as(OfParameters(self.0), &from, made);
        Ok([d_x].into_iter().chain(of_parameters.into_iter().step_by(2)).map(Some).collect())
    }
}

fn backward<'a>(context: &Context<'a>) -> Result<Backward<'a>> {
    match context.inputs {
        [x, gain, statistics, d_y] => Ok(Backward { x, gain, statistics, d_y }),
        other => Err(missing(&["x", "gain", "statistics", "d_y"], other.len())),
    }
}

impl Operation for OfInput {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record_backward(recorder, &backward(context)?, &context.outputs[0])
    }
}

impl Operation for OfParameters {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let outputs = context.outputs;
        let gradients = Parameters { gain: &outputs[0], bias: outputs.get(2) };
        let scratch = Parameters { gain: &outputs[1], bias: outputs.get(3) };
        self.0.record_parameters_backward(recorder, &backward(context)?, &gradients, &scratch)
    }
}
