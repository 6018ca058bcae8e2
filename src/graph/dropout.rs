//! Dropout: [`crate::kernels::dropout`] as nodes. Backward is the same mask on the gradient.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::Recorder,
    kernels::dropout::{Draw, Dropout},
};

#[derive(Debug)]
struct Forward(Dropout);

impl Graph {
    /// Zeroes each element of x `[B, ..]` with probability `rate` and scales the others by `1 / (1 - rate)` (Srivastava et al. 2014).
    /// The mask is a hash of seed, step, node and element, counted in the whole batch where ranks share its B rows. A rate of 0 adds no
    /// node.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rate is not in `[0, 1)`.
    pub fn dropout(&mut self, x: Value, rate: f32) -> Result<Value> {
        let row = self.batch_row(x);
        self.drop(x, rate, Draw::Element, row)
    }

    /// Dropout of x of any shape that all rows of a batch share, such as vectors of positions: ranks draw the same.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rate is not in `[0, 1)`.
    pub fn shared_dropout(&mut self, x: Value, rate: f32) -> Result<Value> {
        self.drop(x, rate, Draw::Element, 0)
    }

    /// Variational dropout of x `[B, T, E]`: one mask `[B, E]` for all steps t (Gal and Ghahramani 2016, section 4).
    ///
    /// # Errors
    /// [`Error::Shape`] if the rate is not in `[0, 1)`, or x has another number of dimensions.
    pub fn variational_dropout(&mut self, x: Value, rate: f32) -> Result<Value> {
        let [_, steps, width] = self.expect_float("dropout", "x", x, [None; 3])?;
        self.drop(x, rate, Draw::Sequence { steps, width }, steps * width)
    }

    /// Dropout of whole rows of x `[B, .., E]`, such as embedded words.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rate is not in `[0, 1)`, or x has a single extent.
    pub fn row_dropout(&mut self, x: Value, rate: f32) -> Result<Value> {
        let width = match self.dims(x) {
            [_, .., width] => *width,
            _ => {
                return Err(Error::Shape {
                    operation: "dropout",
                    argument: "x",
                    wanted: "[B, .., E]".into(),
                    got: self.shape(x).to_string(),
                });
            }
        };
        let row = self.batch_row(x);
        self.drop(x, rate, Draw::Row { width }, row)
    }

    /// Elements of a row of x `[B, ..]`.
    fn batch_row(&self, x: Value) -> usize {
        self.dims(x).get(1..).unwrap_or_default().iter().product()
    }

    fn drop(&mut self, x: Value, rate: f32, draw: Draw, row: usize) -> Result<Value> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Shape {
                operation: "dropout",
                argument: "rate",
                wanted: "0 or more and less than 1".into(),
                got: rate.to_string(),
            });
        }
        let elements = self.elements("dropout", "x", x)?;
        if rate == 0.0 {
            return Ok(x);
        }
        let operation = self.nodes.len() as u32;
        Ok(self.push_like(Forward(Dropout { elements, rate, operation, draw, row }), &[x], x))
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        self.0.record(recorder, &context.inputs[0], context.step, &context.outputs[0])
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        Ok(vec![upstream[0].map(|d_y| graph.push_like(Forward(self.0), &[d_y], inputs[0]))])
    }
}
