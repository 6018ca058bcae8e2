//! Extents in another order: [`crate::kernels::permute`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Recorder, Shape},
    kernels::permute::Permute,
};

#[derive(Debug)]
struct Forward(Permute);

impl Graph {
    /// `x` with its extents, up to four, in another order: extent k of the result is extent `order[k]` of `x`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `order` does not name each extent once.
    pub fn permute(&mut self, x: Value, order: &[usize]) -> Result<Value> {
        self.elements("permute", "x", x)?;
        let dims = self.dims(x).to_vec();
        let count = dims.len();
        let named = order.len() == count && (0..count).all(|extent| order.contains(&extent));
        if !named || count > 4 {
            return Err(Error::Shape {
                operation: "permute",
                argument: "order",
                wanted: format!("each extent of {}, at most four, once", self.shape(x)),
                got: format!("{order:?}"),
            });
        }
        let ahead = 4 - count;
        let mut permute = Permute { extents: [1; 4], order: [0, 1, 2, 3] };
        permute.extents[ahead..].copy_from_slice(&dims);
        permute.order[ahead..].iter_mut().zip(order).for_each(|(to, from)| *to = ahead + from);
        let made: Vec<_> = order.iter().filter_map(|extent| dims.get(*extent).copied()).collect();
        Ok(self.push_as(Forward(permute), &[x], [(Shape::from(made.as_slice()), self.dtype(x))])[0])
    }
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "permute"
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
        Ok(vec![upstream[0].map(|d_y| graph.push_like(Forward(self.0.inverse()), &[d_y], inputs[0]))])
    }
}
