//! tanh of the activations of the small model, and the functions between the layers of a feed-forward network.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE},
};
use crate::{
    Gpu, Result,
    graph::{Graph, Value},
    kernels::{Step, pointwise::Gelu},
    reference::pointwise::Pointwise,
};

/// A function by its name, as a node and as its reference.
struct Function {
    name: &'static str,
    node: fn(&mut Graph, Value) -> Result<Value>,
    reference: Pointwise,
}

const FUNCTIONS: [Function; 5] = [
    Function { name: "tanh", node: Graph::tanh, reference: Pointwise::Tanh },
    Function { name: "relu", node: Graph::relu, reference: Pointwise::Relu },
    Function { name: "gelu_erf", node: |graph, x| graph.gelu(x, Gelu::Erf), reference: Pointwise::GeluErf },
    Function { name: "gelu_tanh", node: |graph, x| graph.gelu(x, Gelu::Tanh), reference: Pointwise::GeluTanh },
    Function { name: "swish", node: Graph::swish, reference: Pointwise::Swish },
];

pub(super) fn workloads() -> Vec<Workload> {
    let of_function = |function: &'static Function| {
        Passes::ALL.map(|passes| {
            let key = format!("pointwise/{}_N{}/{}", function.name, ROWS * SIZE, passes.key());
            Workload::new(key, move |gpu| pointwise(gpu, function, passes))
        })
    };
    FUNCTIONS.iter().flat_map(of_function).collect()
}

fn pointwise(gpu: &Gpu, function: &Function, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, SIZE], 4.0);
    let y = (function.node)(&mut problem.graph, x.value)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    let reference = function.reference;
    problem.finish(&outputs, Step::default(), move |outputs| {
        let y = sample::whole(&outputs[0], &reference.forward(&x.host, None));
        let [_, gradient] = outputs else { return y };
        sample::worst([y, sample::whole(gradient, &reference.backward(&x.host, None, &d_y.host).0)])
    })
}
