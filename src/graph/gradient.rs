//! The backward pass as nodes of the same graph.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{Graph, Node, Source, Value};
use crate::{Error, Result, gpu::Dtype};

impl Graph {
    /// Appends the nodes that compute the gradient of the scalar `loss` with respect to each of `wanted`, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] if `loss` is not a scalar, if it does not depend on one of `wanted`, or if an operation in between has
    /// no derivative.
    pub fn gradients(&mut self, loss: Value, wanted: &[Value]) -> Result<Vec<Value>> {
        self.expect("gradients", "loss", loss, Dtype::F32, [Some(1)])?;
        let one = self.filled_as([1], Dtype::F32, 1.0);
        self.gradients_from(&[(loss, one)], wanted)
    }

    /// Appends the nodes that compute the gradients of `wanted` from upstream gradients of any values: pairs (value, gradient).
    ///
    /// # Errors
    /// [`Error::Shape`] if a value and its gradient differ in shape or type, if the values do not depend on one of `wanted`, or
    /// if an operation in between has no derivative.
    pub fn gradients_from(&mut self, upstream: &[(Value, Value)], wanted: &[Value]) -> Result<Vec<Value>> {
        let mut walk = Walk { found: HashMap::new(), again: HashMap::new(), depends: self.dependents(wanted) };
        for (value, gradient) in upstream {
            if self.shape(*value) != self.shape(*gradient) || self.dtype(*value) != self.dtype(*gradient) {
                let typed = |value: Value| format!("{} {}", self.dtype(value), self.shape(value));
                return Err(Error::Shape {
                    operation: "gradients",
                    argument: "upstream",
                    wanted: typed(*value),
                    got: typed(*gradient),
                });
            }
            self.accumulate(&mut walk, *value, *gradient)?;
        }
        self.walk(0..self.nodes.len(), &mut walk)?;
        wanted
            .iter()
            .map(|value| {
                walk.found(*value).ok_or_else(|| Error::Shape {
                    operation: "gradients",
                    argument: "wanted",
                    wanted: "a value that the loss depends on".into(),
                    got: match &self.values[value.0].source {
                        Source::Input(name) | Source::Parameter(name) => format!("`{name}`, which it does not use"),
                        _ => "one that it does not use".into(),
                    },
                })
            })
            .collect()
    }

    /// Goes through nodes from the last to the first, and appends those of their gradients.
    pub(super) fn walk(&mut self, nodes: Range<usize>, walk: &mut Walk) -> Result<()> {
        let mut end = nodes.end;
        while end > nodes.start {
            end -= 1;
            match self.reversible_at(end) {
                Some(reversible) => end = self.reverse(reversible, walk)?,
                None => self.differentiate(end, walk)?,
            }
        }
        Ok(())
    }

    /// Appends the gradient of one node, if it is on the way.
    fn differentiate(&mut self, index: usize, walk: &mut Walk) -> Result<()> {
        let Node { operation, inputs, outputs } = &self.nodes[index];
        let gradients: Vec<_> = outputs.iter().map(|output| walk.found(*output)).collect();
        if gradients.iter().all(Option::is_none) || !inputs.iter().any(|input| walk.depends(*input)) {
            return Ok(());
        }
        let (operation, inputs, outputs) = (Arc::clone(operation), inputs.clone(), outputs.clone());
        let before = self.nodes.len();
        let result = operation.gradient(self, &inputs, &outputs, &gradients)?;
        for (input, gradient) in inputs.into_iter().zip(&result) {
            let Some(gradient) = gradient.filter(|_| walk.depends(input)) else { continue };
            let once = result.iter().flatten().filter(|other| **other == gradient).count() == 1;
            if !once || !self.add_in_node(walk, input, gradient, before) {
                self.accumulate(walk, input, gradient)?;
            }
        }
        Ok(())
    }

    /// Lets the node that has made a gradient, one of those since `before`, add it to what `value` has already, in that one's memory.
    /// Returns whether it can: nothing may read its output yet, and what it adds to must be made before it, and be none of its factors.
    fn add_in_node(&mut self, walk: &mut Walk, value: Value, gradient: Value, before: usize) -> bool {
        let Some(other) = walk.found(value) else { return false };
        let Some(place) = self.nodes.iter().skip(before).position(|node| node.outputs == [gradient]) else {
            return false;
        };
        let comes_later = |node: &Node| node.inputs.contains(&gradient) || node.outputs.contains(&other);
        if self.like(other) != self.like(gradient) || self.nodes.iter().skip(before + place).any(comes_later) {
            return false;
        }
        let Some(node) = self.nodes.get_mut(before + place).filter(|node| !node.inputs.contains(&other)) else {
            return false;
        };
        let Some(adding) = node.operation.adding() else { return false };
        node.operation = adding;
        node.inputs.push(other);
        walk.found.insert(value, gradient);
        true
    }

    pub(super) fn accumulate(&mut self, walk: &mut Walk, value: Value, gradient: Value) -> Result<()> {
        let sum = match walk.found(value) {
            Some(other) => self.add(other, gradient)?,
            None => gradient,
        };
        walk.found.insert(value, sum);
        Ok(())
    }

    /// For each value, whether it depends on one of `roots`.
    fn dependents(&self, roots: &[Value]) -> Vec<bool> {
        let mut depends = vec![false; self.values.len()];
        roots.iter().for_each(|root| depends[root.0] = true);
        for node in &self.nodes {
            if node.inputs.iter().any(|input| depends[input.0]) {
                node.outputs.iter().for_each(|output| depends[output.0] = true);
            }
        }
        depends
    }
}

/// What a backward pass has found so far.
pub(super) struct Walk {
    /// The gradients of values.
    found: HashMap<Value, Value>,
    /// What stands for activations that are not kept.
    again: HashMap<Value, Value>,
    /// For each value, whether it depends on what is differentiated by.
    depends: Vec<bool>,
}

impl Walk {
    /// The gradient of a value.
    pub(super) fn found(&self, value: Value) -> Option<Value> {
        self.found.get(&value).copied()
    }

    /// The gradient of a value, which nothing else will ask for.
    pub(super) fn take(&mut self, value: Value) -> Option<Value> {
        self.found.remove(&value)
    }

    /// What stands for a value: itself, unless it has been made again.
    pub(super) fn again(&self, value: Value) -> Value {
        *self.again.get(&value).unwrap_or(&value)
    }

    /// Makes a value stand for another, on which what depends on that one depends.
    pub(super) fn make_again(&mut self, value: Value, again: Value) {
        self.again.insert(value, again);
        self.depend_alike(&[value], &[again]);
    }

    /// Makes new values depend on what older ones depend on.
    pub(super) fn depend_alike(&mut self, values: &[Value], new: &[Value]) {
        for (value, new) in values.iter().zip(new) {
            let depends = self.depends(*value);
            self.depends.resize(self.depends.len().max(new.0 + 1), false);
            self.depends[new.0] = depends;
        }
    }

    fn depends(&self, value: Value) -> bool {
        self.depends.get(value.0).copied().unwrap_or(false)
    }
}
