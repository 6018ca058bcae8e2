//! Parameters of a graph by name.

use crate::{
    Result,
    gpu::Shape,
    graph::{Epilogue, Graph, GruWeights, Value},
    kernels::matmul::Activation,
};

/// The parameters that a graph has used so far, and the shapes of all.
#[derive(Debug)]
pub struct Layers {
    shapes: Vec<(String, Shape)>,
    used: Vec<(String, Value)>,
}

impl Layers {
    /// Parameters of these names and shapes, none of which is used yet.
    pub fn new(shapes: Vec<(String, Shape)>) -> Self {
        Self { shapes, used: Vec::new() }
    }

    /// What has been used.
    pub fn into_used(self) -> Vec<(String, Value)> {
        self.used
    }

    pub(super) fn get(&mut self, graph: &mut Graph, name: &str) -> Value {
        if let Some((_, value)) = self.used.iter().find(|(used, _)| used == name) {
            return *value;
        }
        let shape = self.shapes.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.clone());
        let value = graph.parameter(name, shape.unwrap_or_default());
        self.used.push((name.to_owned(), value));
        value
    }

    /// A layer without a bias.
    pub(super) fn linear(&mut self, graph: &mut Graph, x: Value, layer: &str, activation: Activation) -> Result<Value> {
        let weight = self.get(graph, &format!("{layer}.weight"));
        graph.linear(x, weight, Epilogue { bias: None, activation })
    }

    pub(super) fn gru(&mut self, graph: &mut Graph, prefix: &str, suffix: &str) -> GruWeights {
        let mut get = |part: &str| self.get(graph, &format!("{prefix}.{part}{suffix}"));
        GruWeights {
            weight_ih: get("weight_ih"),
            weight_hh: get("weight_hh"),
            bias_ih: get("bias_ih"),
            bias_hh: get("bias_hh"),
        }
    }
}
