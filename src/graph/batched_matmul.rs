//! Products of matrices pair by pair: [`crate::kernels::matmul`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder},
    kernels::matmul::{Matmul, Matrix, Operands, Tile},
};

#[derive(Debug)]
struct Product(Matmul);

impl Graph {
    /// `op(a)·op(b)` for each b of `a` `[B, M, K]` and `b` `[B, K, N]`, each stored transposed or not: `[B, M, N]`, as `dtype`. Of
    /// the types that [`Matmul::takes`] scores are the product of two activations as f32, and contexts that of f32 weights and
    /// activations as activations.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn batched_matmul(
        &mut self,
        [a, b]: [Value; 2],
        [transpose_a, transpose_b]: [bool; 2],
        dtype: Dtype,
    ) -> Result<Value> {
        const NAME: &str = "batched_matmul";
        let [batch, rows, columns] = self.expect_float(NAME, "a", a, [None; 3])?;
        let (m, k) = if transpose_a { (columns, rows) } else { (rows, columns) };
        let wanted = if transpose_b { [Some(batch), None, Some(k)] } else { [Some(batch), Some(k), None] };
        let [_, rows, columns] = self.expect_float(NAME, "b", b, wanted)?;
        let n = if transpose_b { rows } else { columns };
        let matmul = Matmul { m, n, k, batch, transpose_a, transpose_b, ..Matmul::default() };
        let types = [self.dtype(a), self.dtype(b), dtype];
        if !matmul.takes(types) {
            let (wanted, got) = ("types that the product takes".into(), types.map(Dtype::name).join(", "));
            return Err(Error::Shape { operation: NAME, argument: "dtype", wanted, got });
        }
        Ok(self.push_as(Product(matmul), &[a, b], [([batch, m, n].into(), dtype)])[0])
    }
}

impl Operation for Product {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.0.m);
        let [a, b, c] = [&context.inputs[0], &context.inputs[1], &context.outputs[0]].map(Matrix::batch);
        self.0.record(recorder, tile, &Operands { a, b, bias: None, c })
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_c) = upstream[0] else { return Ok(vec![None; 2]) };
        let (a, b) = (inputs[0], inputs[1]);
        let Matmul { transpose_a, transpose_b, .. } = self.0;
        let (factors, transposed) =
            if transpose_a { ([b, d_c], [transpose_b, true]) } else { ([d_c, b], [false, !transpose_b]) };
        let d_a = graph.batched_matmul(factors, transposed, graph.dtype(a))?;
        let (factors, transposed) =
            if transpose_b { ([d_c, a], [true, transpose_a]) } else { ([a, d_c], [!transpose_a, false]) };
        let d_b = graph.batched_matmul(factors, transposed, graph.dtype(b))?;
        Ok(vec![Some(d_a), Some(d_b)])
    }
}
