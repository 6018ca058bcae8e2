//! Matrix products: [`crate::kernels::matmul`] as nodes.

use std::sync::Arc;

use super::{Context, Graph, InPlace, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::matmul::{Activation, Matmul, Matrix, Operands, Tile},
};

/// Bias and activation after a product, in the same kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue {
    /// `[N]`, added to every row.
    pub bias: Option<Value>,
    /// Applied last.
    pub activation: Activation,
}

#[derive(Debug)]
struct Product {
    matmul: Matmul,
    /// Whether a bias is the third input.
    biased: bool,
}

/// A product that is added to the third input, in place.
#[derive(Debug)]
struct Added(Matmul);

/// The gradients of a layer's weight and bias.
#[derive(Debug)]
struct WeightAndBias(Matmul);

impl Graph {
    /// `y = activation(x·weightᵀ + bias)` for `x` `[.., K]` and `weight` `[N, K]`: `[.., N]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn linear(&mut self, x: Value, weight: Value, epilogue: Epilogue) -> Result<Value> {
        self.matmul(x, false, weight, true, epilogue)
    }

    /// `activation(op(a)·op(b) + bias)` of two matrices, each transposed or not; all but the last extent of `a` and `b` are
    /// folded into rows. With an activation of f16 the product is one, too; then a parameter stands to its right.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn matmul(
        &mut self,
        a: Value,
        transpose_a: bool,
        b: Value,
        transpose_b: bool,
        epilogue: Epilogue,
    ) -> Result<Value> {
        let half = [a, b].iter().any(|value| self.dtype(*value) == Dtype::F16);
        self.product([a, b], [transpose_a, transpose_b], epilogue, if half { Dtype::F16 } else { Dtype::F32 })
    }

    fn product(
        &mut self,
        [a, b]: [Value; 2],
        [transpose_a, transpose_b]: [bool; 2],
        epilogue: Epilogue,
        dtype: Dtype,
    ) -> Result<Value> {
        self.elements("matmul", "a", a)?;
        self.elements("matmul", "b", b)?;
        let (a_shape, b_shape) = (self.shape(a).clone(), self.shape(b).clone());
        let (m, k) = if transpose_a { (a_shape.last(), a_shape.rows()) } else { (a_shape.rows(), a_shape.last()) };
        let (b_k, n) = if transpose_b { (b_shape.last(), b_shape.rows()) } else { (b_shape.rows(), b_shape.last()) };
        if b_k != k || m * n * k == 0 {
            return Err(Error::Shape {
                operation: "matmul",
                argument: "b",
                wanted: format!("{k} rows after transposition, to match a {a_shape}"),
                got: format!("{b_shape}"),
            });
        }
        let mut inputs = vec![a, b];
        if let Some(bias) = epilogue.bias {
            self.expect("matmul", "bias", bias, Dtype::F32, [Some(n)])?;
            inputs.push(bias);
        }
        let matmul =
            Matmul { m, n, k, batch: 1, transpose_a, transpose_b, activation: epilogue.activation, accumulate: false };
        let mut dims =
            if transpose_a { vec![m] } else { a_shape.dims().split_last().map_or(vec![], |(_, rest)| rest.to_vec()) };
        dims.push(n);
        let product = Product { matmul, biased: epilogue.bias.is_some() };
        Ok(self.push_as(product, &inputs, [(dims.as_slice().into(), dtype)])[0])
    }

    /// The gradients `[N, K]` and `[N]`, f32, of the weight and the bias of a layer, from that of its output `[.., N]` and its input
    /// `[.., K]`.
    fn weight_and_bias(&mut self, d_y: Value, x: Value) -> Result<[Value; 2]> {
        let (m, n, k) = (self.shape(d_y).last(), self.shape(x).last(), self.shape(x).rows());
        let matmul = Matmul { m, n, k, batch: 1, transpose_a: true, ..Matmul::default() };
        let outputs = [vec![m, n], vec![m]].map(|dims| (dims.as_slice().into(), Dtype::F32));
        let made = self.push_as(WeightAndBias(matmul), &[d_y, x], outputs);
        Ok([made[0], made[1]])
    }
}

impl Operation for Product {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.matmul.m);
        let (inputs, c) = (context.inputs, Matrix::rows(&context.outputs[0]));
        let [a, b] = [&inputs[0], &inputs[1]].map(Matrix::rows);
        self.matmul.record(recorder, tile, &Operands { a, b, bias: inputs.get(2), c })
    }

    fn adding(&self) -> Option<Arc<dyn Operation>> {
        let alone = !self.biased && self.matmul.activation == Activation::None;
        alone.then(|| Arc::new(Added(Matmul { accumulate: true, ..self.matmul })) as _)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(mut d_c) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        d_c = match self.matmul.activation {
            Activation::None => d_c,
            Activation::Tanh => graph.tanh_gradient(outputs[0], d_c)?,
            Activation::Sigmoid => graph.sigmoid_gradient(outputs[0], d_c)?,
        };
        let (a, b) = (inputs[0], inputs[1]);
        let Matmul { transpose_a, transpose_b, .. } = self.matmul;
        let (factors, transposed) =
            if transpose_a { ([b, d_c], [transpose_b, true]) } else { ([d_c, b], [false, !transpose_b]) };
        let d_a = graph.product(factors, transposed, Epilogue::default(), graph.dtype(a))?;
        // Of a layer's weight and its bias the gradients are one product.
        let of_layer = inputs.len() == 3 && transpose_b && !transpose_a;
        let (factors, transposed) =
            if transpose_b { ([d_c, a], [true, transpose_a]) } else { ([a, d_c], [!transpose_a, false]) };
        let (d_b, d_bias) = match of_layer {
            true => graph.weight_and_bias(d_c, a).map(|[weight, bias]| (weight, Some(bias)))?,
            false => (graph.product(factors, transposed, Epilogue::default(), graph.dtype(b))?, None),
        };
        // Products fold all but the last extent into rows; the gradient has its operand's own shape.
        let mut gradients = Vec::with_capacity(inputs.len());
        for (operand, gradient) in [(a, d_a), (b, d_b)] {
            let shape = graph.shape(operand).clone();
            let folded = graph.shape(gradient) != &shape;
            gradients.push(Some(if folded { graph.reshape(gradient, shape)? } else { gradient }));
        }
        if inputs.len() == 3 {
            gradients.push(Some(d_bias.map_or_else(|| graph.column_sum(d_c), Ok)?));
        }
        Ok(gradients)
    }
}

impl Operation for Added {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn in_place(&self) -> Option<InPlace> {
        Some(InPlace::over(2))
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.0.m);
        let [a, b] = [&context.inputs[0], &context.inputs[1]].map(Matrix::rows);
        self.0.record(recorder, tile, &Operands { a, b, bias: None, c: Matrix::rows(&context.outputs[0]) })
    }
}

impl Operation for WeightAndBias {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.0.m);
        let [a, b] = [&context.inputs[0], &context.inputs[1]].map(Matrix::rows);
        let operands = Operands { a, b, bias: None, c: Matrix::rows(&context.outputs[0]) };
        self.0.record_summed(recorder, tile, &operands, &context.outputs[1])
    }
}
