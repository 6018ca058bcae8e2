//! The backward pass as nodes of the same graph.

use std::collections::HashMap;

use super::{Graph, Source, Value};
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
        let depends = self.dependents(wanted);
        let mut found: HashMap<Value, Value> = HashMap::new();
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
            self.accumulate(&mut found, *value, *gradient)?;
        }
        for index in (0..self.nodes.len()).rev() {
            let node = &self.nodes[index];
            let gradients: Vec<_> = node.outputs.iter().map(|output| found.get(output).copied()).collect();
            if gradients.iter().all(Option::is_none) || !node.inputs.iter().any(|input| depends[input.0]) {
                continue;
            }
            let (inputs, outputs) = (node.inputs.clone(), node.outputs.clone());
            // The box steps aside while its gradient appends to the graph that owns it.
            let operation = std::mem::replace(&mut self.nodes[index].operation, Box::new(Taken));
            let result = operation.gradient(self, &inputs, &outputs, &gradients);
            self.nodes[index].operation = operation;
            for (input, gradient) in inputs.into_iter().zip(result?) {
                if let Some(gradient) = gradient.filter(|_| depends[input.0]) {
                    self.accumulate(&mut found, input, gradient)?;
                }
            }
        }
        wanted
            .iter()
            .map(|value| {
                found.get(value).copied().ok_or_else(|| Error::Shape {
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

    fn accumulate(&mut self, found: &mut HashMap<Value, Value>, value: Value, gradient: Value) -> Result<()> {
        let sum = match found.get(&value) {
            Some(other) => self.add(*other, gradient)?,
            None => gradient,
        };
        found.insert(value, sum);
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

/// Stands in a node while its own operation is asked for gradients.
#[derive(Debug)]
struct Taken;

impl super::Operation for Taken {
    fn name(&self) -> &'static str {
        "taken"
    }

    fn record(&self, _: &mut crate::gpu::Recorder, _: &super::Context<'_>) -> Result<()> {
        Ok(())
    }
}
