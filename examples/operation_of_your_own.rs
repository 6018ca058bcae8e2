//! Door six: a differentiable operation of your own, in WGSL, forward and backward: checked against a reference of your own, then
//! trained with in a graph.
//!
//!     cargo run --release --example operation_of_your_own

use softalign::{
    Gpu, GpuOptions, Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, grid},
    graph::{Context, Epilogue, Graph, Operation, Parameters, Program, ProgramOptions, Value},
    kernels::{SHARED, Step},
    train::{Optimizer, State},
    validate::{self, Input, Trial},
};

/// `y = a * sigmoid(a) * b`, the gate of SwiGLU (Shazeer 2020). An invocation goes to one element.
static FORWARD: Shader = Shader::new(
    "swiglu",
    "
#import linear
#import math
struct Params { elements: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [N]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [N]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [N]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * 64u + index;
    if (i >= params.elements) { return; }
    y[i] = a[i] * sigmoid1(a[i]) * b[i];
}",
    SHARED,
);

/// With s = sigmoid(a): `d_a = d_y * b * s * (1 + a * (1 - s))` and `d_b = d_y * a * s`.
static BACKWARD: Shader = Shader::new(
    "swiglu_backward",
    "
#import linear
#import math
struct Params { elements: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [N]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [N]
@group(0) @binding(3) var<storage, read> d_y: array<f32>;        // [N]
@group(0) @binding(4) var<storage, read_write> d_a: array<f32>;  // [N]
@group(0) @binding(5) var<storage, read_write> d_b: array<f32>;  // [N]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * 64u + index;
    if (i >= params.elements) { return; }
    let s = sigmoid1(a[i]);
    d_a[i] = d_y[i] * b[i] * s * (1.0 + a[i] * (1.0 - s));
    d_b[i] = d_y[i] * a[i] * s;
}",
    SHARED,
);

/// The forward pass as a node: inputs a and b, output y.
#[derive(Debug)]
struct SwiGlu;

/// The backward pass as a node: inputs a, b and d_y, outputs d_a and d_b.
#[derive(Debug)]
struct SwiGluBackward;

impl Operation for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        dispatch(recorder, &FORWARD, context)
    }

    /// Inputs and outputs of the forward pass are there for the backward one to read: nothing else needs to be kept.
    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None; 2]) };
        let shapes = [graph.shape(inputs[0]).clone(), graph.shape(inputs[1]).clone()];
        let made = graph.push(SwiGluBackward, &[inputs[0], inputs[1], d_y], shapes);
        Ok(made.into_iter().map(Some).collect())
    }
}

impl Operation for SwiGluBackward {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        dispatch(recorder, &BACKWARD, context)
    }
}

/// A dispatch that binds a node's inputs, then its outputs.
fn dispatch(recorder: &mut Recorder, kernel: &'static Shader, context: &Context<'_>) -> Result<()> {
    let tensors: Vec<_> = context.inputs.iter().chain(context.outputs).collect();
    let elements = context.outputs[0].elements();
    recorder.dispatch(&Launch {
        kernel,
        specialisation: Specialisation::new(),
        params: &[elements as u32],
        tensors: &tensors,
        workgroups: grid(elements.div_ceil(64)),
        cost: Cost::default(),
    })
}

fn swiglu(graph: &mut Graph, a: Value, b: Value) -> Value {
    let shape = graph.shape(a).clone();
    graph.push_one(SwiGlu, &[a, b], shape)
}

/// The same on the CPU, in f64.
fn reference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect()
}

fn main() -> Result<()> {
    let gpu = Gpu::open(&GpuOptions::default())?;

    // Outputs against the reference, gradients against its central differences; every tensor is NaN before the kernels run.
    let trial = Trial {
        name: "swiglu".into(),
        inputs: vec![Input::drawn("a", [7, 19]), Input::drawn("b", [7, 19])],
        tolerance: 1e-5,
        seed: 1,
    };
    let report = validate::operation(
        &gpu,
        &trial,
        |graph, inputs| Ok(vec![swiglu(graph, inputs[0], inputs[1])]),
        |inputs| vec![reference(&inputs[0], &inputs[1])],
    )?;
    report.tensors.iter().for_each(|tensor| println!("{tensor}"));
    report.check()?;

    // Between two linear layers it learns exclusive or. Class 0 is padding, so the answers are classes 1 and 2 of 3.
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 3], Dtype::F32);
    let targets = graph.input("targets", [4], Dtype::U32);
    let shapes = [("gate", [8, 3]), ("up", [8, 3]), ("down", [3, 8])];
    let [gate, up, down] = shapes.map(|(name, shape)| graph.parameter(name, shape));
    let (a, b) = (graph.linear(x, gate, Epilogue::default())?, graph.linear(x, up, Epilogue::default())?);
    let hidden = swiglu(&mut graph, a, b);
    let logits = graph.linear(hidden, down, Epilogue::default())?;
    let loss = graph.cross_entropy(logits, targets, 0.0)?;
    let gradients = graph.gradients(loss, &[gate, up, down])?;

    let parameters = Parameters::new(&gpu, shapes.map(|(name, shape)| (name.to_owned(), shape.into())))?;
    for (number, (name, _)) in shapes.iter().enumerate() {
        let tensor = parameters.tensor(name).expect("it was named above");
        let values: Vec<f32> = (0..tensor.elements()).map(|i| ((i * 7 + number * 3) as f32).sin()).collect();
        gpu.write(&tensor, &values)?;
    }
    let state = State::new(&gpu, &parameters)?;
    let named: Vec<_> = shapes.iter().map(|(name, _)| (*name).to_owned()).zip(gradients).collect();
    let options = ProgramOptions {
        label: "exclusive or by SwiGLU".into(),
        parameters: Some(&parameters),
        gradients: Some((&state.gradients, &named)),
        outputs: &[loss],
        ..Default::default()
    };
    let mut program = Program::compile_with(&gpu, &graph, &options, |recorder, finish| {
        Optimizer::default().record(recorder, &state, finish.step, Some(finish.tensor(loss)?))
    })?;
    // The third column is always 1: it serves for a bias.
    program.write("x", &[0.0_f32, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])?;
    program.write("targets", &[1_u32, 2, 2, 1])?;
    for step in 1..=300 {
        program.run(Step { step, seed: 1, learning_rate: 0.03, loss_scale: 0.25, ..Step::default() })?;
    }
    let loss = program.read::<f32>(loss)?[0];
    println!("loss after 300 steps: {loss:.4}");
    assert!(loss < 0.05, "exclusive or was not learned");
    Ok(())
}
