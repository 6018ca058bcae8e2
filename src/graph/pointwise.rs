//! Sums, products and functions of single elements: [`crate::kernels::pointwise`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::pointwise::{self, Gelu, Gradients, Pointwise},
};

#[derive(Debug)]
struct Forward(Pointwise);

/// Of a function. Inputs: its operand or its result, whichever its derivative is told from; d_y. Output: d_a.
#[derive(Debug)]
struct Backward(Pointwise);

impl Graph {
    /// `a + b`, element by element.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes or types differ.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(Pointwise::Add, a, b)
    }

    /// `a · b`, element by element.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes or types differ.
    pub fn multiply(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(Pointwise::Multiply, a, b)
    }

    /// Each element times `factor`.
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn scale(&mut self, a: Value, factor: f32) -> Result<Value> {
        self.unary(Pointwise::Scale(factor), a)
    }

    /// Hyperbolic tangent of each element.
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn tanh(&mut self, a: Value) -> Result<Value> {
        self.unary(Pointwise::Tanh, a)
    }

    /// Logistic function of each element.
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn sigmoid(&mut self, a: Value) -> Result<Value> {
        self.unary(Pointwise::Sigmoid, a)
    }

    /// `max(x, 0)` of each element; what is not finite stays.
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn relu(&mut self, x: Value) -> Result<Value> {
        self.unary(Pointwise::Relu, x)
    }

    /// Gaussian error linear unit of each element (Hendrycks and Gimpel 2016, section 2).
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn gelu(&mut self, x: Value, form: Gelu) -> Result<Value> {
        self.unary(Pointwise::Gelu(form), x)
    }

    /// `x · sigmoid(x)` of each element, which is called SiLU too.
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but floats.
    pub fn swish(&mut self, x: Value) -> Result<Value> {
        self.unary(Pointwise::Swish, x)
    }

    fn unary(&mut self, operation: Pointwise, a: Value) -> Result<Value> {
        self.elements("pointwise", "a", a)?;
        Ok(self.push_like(Forward(operation), &[a], a))
    }

    fn binary(&mut self, operation: Pointwise, a: Value, b: Value) -> Result<Value> {
        self.elements("pointwise", "a", a)?;
        self.elements("pointwise", "b", b)?;
        if self.shape(b) != self.shape(a) || self.dtype(b) != self.dtype(a) {
            let typed = |value: Value| format!("{} {}", self.dtype(value), self.shape(value));
            return Err(Error::Shape { operation: "pointwise", argument: "b", wanted: typed(a), got: typed(b) });
        }
        Ok(self.push_like(Forward(operation), &[a, b], a))
    }

    pub(super) fn tanh_gradient(&mut self, y: Value, d_y: Value) -> Result<Value> {
        Ok(self.function_gradient(Pointwise::Tanh, y, d_y))
    }

    pub(super) fn sigmoid_gradient(&mut self, y: Value, d_y: Value) -> Result<Value> {
        Ok(self.function_gradient(Pointwise::Sigmoid, y, d_y))
    }

    fn function_gradient(&mut self, operation: Pointwise, from: Value, d_y: Value) -> Value {
        self.push_like(Backward(operation), &[from, d_y], from)
    }

    /// Checks that a value is a float tensor of any shape and returns its number of elements.
    pub(super) fn elements(&self, operation: &'static str, argument: &'static str, value: Value) -> Result<usize> {
        let info = &self.values[value.0];
        if info.dtype == Dtype::U32 || info.shape.elements() == 0 {
            return Err(Error::Shape {
                operation,
                argument,
                wanted: "floats, at least one element".into(),
                got: format!("{} {}", info.dtype, info.shape),
            });
        }
        Ok(info.shape.elements())
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], context.inputs.get(1), &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        Ok(match self.0 {
            Pointwise::Add => vec![Some(d_y); 2],
            Pointwise::Multiply => {
                vec![Some(graph.multiply(d_y, inputs[1])?), Some(graph.multiply(d_y, inputs[0])?)]
            }
            Pointwise::Scale(factor) => vec![Some(graph.scale(d_y, factor)?)],
            function => {
                let from = if function.needs_operand() { inputs[0] } else { outputs[0] };
                vec![Some(graph.function_gradient(function, from, d_y))]
            }
        })
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let (from, d_y) = (&context.inputs[0], &context.inputs[1]);
        let backward = pointwise::Backward { a: from, b: None, y: from, d_y };
        self.0.record_backward(recorder, &backward, &Gradients { a: &context.outputs[0], b: None })
    }
}
