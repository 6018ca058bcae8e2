//! Residual connections whose inputs are not kept: Gomez, Ren, Urtasun and Grosse, "The Reversible Residual Network: Backpropagation
//! Without Storing Activations" (2017), section 3. The backward pass makes them again from the outputs.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{Graph, Node, Reversible, Value, gradient::Walk};
use crate::Result;

/// The place in a graph where the nodes of a [`Graph::reversible_add`] begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning(usize);

impl Graph {
    /// The place behind all nodes so far.
    pub fn beginning(&self) -> Beginning {
        Beginning(self.nodes.len())
    }

    /// `x + made`, where all nodes since `beginning` make `made = f(z)`, and take nothing else that depends on what is differentiated but
    /// parameters. No activation of f is kept for the backward pass, and no x that such a sum has made: once y and z are there, f runs
    /// again, its gradient follows, and `x = y - f(z)`, which is the y or z of the sums before it. Decisions, such as buckets, are kept, so
    /// that f is the same again.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if `x` and `made` differ.
    pub fn reversible_add(&mut self, x: Value, z: Value, made: Value, beginning: Beginning) -> Result<Value> {
        let last = self.nodes.len();
        let y = self.add(x, made)?;
        self.reversible.push(Reversible { first: beginning.0, last, x, z, made, y });
        Ok(y)
    }

    /// The reversible sum whose node this is.
    pub(super) fn reversible_at(&self, node: usize) -> Option<Reversible> {
        let found = self.reversible.binary_search_by_key(&node, |reversible| reversible.last);
        found.ok().map(|at| self.reversible[at])
    }

    /// Appends the backward of a reversible sum. Returns its first node, before which the walk goes on.
    pub(super) fn reverse(&mut self, reversible: Reversible, walk: &mut Walk) -> Result<usize> {
        let Reversible { first, last, x, z, made, y } = reversible;
        let Some(d_y) = walk.found(y) else { return Ok(first) };
        let [y_again, z_again] = [walk.again(y), walk.again(z)];
        let (copies, again) = self.repeat(first..last, HashMap::from([(z, z_again)]), walk);
        let made_again = again.get(&made).copied().unwrap_or(made);
        // What no such sum has made is kept: there is but one, however many sums follow.
        if self.reversible.iter().any(|earlier| earlier.y == x) {
            let less = self.scale(made_again, -1.0)?;
            let x_again = self.add(y_again, less)?;
            walk.make_again(x, x_again);
        }
        self.accumulate(walk, x, d_y)?;
        self.accumulate(walk, made_again, d_y)?;
        self.walk(copies, walk)?;
        if let Some(d_z) = Some(z_again).filter(|again| *again != z).and_then(|again| walk.take(again)) {
            self.accumulate(walk, z, d_z)?;
        }
        Ok(first)
    }

    /// Appends copies of nodes that take other values, given by those they stand for, and returns with them the values that the copies
    /// make.
    fn repeat(
        &mut self,
        nodes: Range<usize>,
        mut again: HashMap<Value, Value>,
        walk: &mut Walk,
    ) -> (Range<usize>, HashMap<Value, Value>) {
        let begin = self.nodes.len();
        for index in nodes {
            let Node { operation, inputs, outputs } = &self.nodes[index];
            if operation.decides() {
                continue;
            }
            let operation = Arc::clone(operation);
            let inputs: Vec<_> = inputs.iter().map(|input| *again.get(input).unwrap_or(input)).collect();
            let made = outputs.clone();
            let outputs: Vec<_> = made.iter().map(|output| self.another(*output)).collect();
            walk.depend_alike(&made, &outputs);
            again.extend(made.into_iter().zip(outputs.iter().copied()));
            self.nodes.push(Node { operation, inputs, outputs });
        }
        (begin..self.nodes.len(), again)
    }
}
