//! The trial of kernels that are not this crate's: what is right passes, and what is wrong is named.

use crate::common;
use softalign::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, grid},
    graph::{Context, Epilogue, Graph, Operation, Value},
    kernels::SHARED,
    validate::{self, Input, Report, Trial},
};

/// `y = x * w^2` of rows of x, or a fault.
static FORWARD: Shader = Shader::new(
    "weighted",
    "
#import linear
struct Params { elements: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * 64u + index;
    if (i >= params.elements) { return; }
    let weight = w[i % params.columns];
#ifdef WRONG
    y[i] = x[i] * weight;
#else
#ifdef HOLE
    if (i == 7u) { return; }
#endif
    y[i] = x[i] * weight * weight;
#endif
}",
    SHARED,
);

/// `d_x = d_y * w^2` and `d_w`, the sum over rows of `d_y * x * 2w`; an invocation goes to a column.
static BACKWARD: Shader = Shader::new(
    "weighted_backward",
    "
#import linear
struct Params { elements: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_w: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let column = linear_workgroup(group, groups) * 64u + index;
    if (column >= params.columns) { return; }
    var sum = 0.0;
    for (var i = column; i < params.elements; i += params.columns) {
        d_x[i] = d_y[i] * w[column] * w[column];
        sum += d_y[i] * x[i];
    }
#ifdef WRONG
    d_w[column] = sum * w[column];
#else
#ifdef HOLE
    if (column == 2u) { return; }
#endif
    d_w[column] = sum * 2.0 * w[column];
#endif
}",
    SHARED,
);

/// A fault of a pass: the name that its shader knows it by.
type Fault = Option<&'static str>;

#[derive(Clone, Copy, Debug)]
struct Weighted {
    forward: Fault,
    backward: Fault,
}

#[derive(Debug)]
struct WeightedBackward(Fault);

fn dispatch(recorder: &mut Recorder, kernel: &'static Shader, fault: Fault, context: &Context<'_>) -> Result<()> {
    let tensors: Vec<_> = context.inputs.iter().chain(context.outputs).collect();
    let (x, w) = (&context.inputs[0], &context.inputs[1]);
    recorder.dispatch(&Launch {
        kernel,
        specialisation: fault.into_iter().fold(Specialisation::new(), Specialisation::define),
        params: &[x.elements() as u32, w.elements() as u32],
        tensors: &tensors,
        workgroups: grid(x.elements().div_ceil(64)),
        cost: Cost::default(),
    })
}

impl Operation for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        dispatch(recorder, &FORWARD, self.forward, context)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        _: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let Some(d_y) = upstream[0] else { return Ok(vec![None; 2]) };
        let shapes = [graph.shape(inputs[0]).clone(), graph.shape(inputs[1]).clone()];
        let made = graph.push(WeightedBackward(self.backward), &[inputs[0], inputs[1], d_y], shapes);
        Ok(made.into_iter().map(Some).collect())
    }
}

impl Operation for WeightedBackward {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        dispatch(recorder, &BACKWARD, self.0, context)
    }
}

fn reference(x: &[f64], w: &[f64]) -> Vec<f64> {
    x.iter().enumerate().map(|(i, x)| x * w[i % w.len()] * w[i % w.len()]).collect()
}

const COLUMNS: usize = 5;

fn tried(rows: usize, operation: Weighted) -> Report {
    let trial = Trial {
        name: "weighted".into(),
        inputs: vec![Input::drawn("x", [rows, COLUMNS]), Input::drawn("w", [COLUMNS])],
        tolerance: 1e-5,
        seed: 3,
    };
    let build = |graph: &mut Graph, inputs: &[Value]| {
        let shape = graph.shape(inputs[0]).clone();
        Ok(vec![graph.push_one(operation, inputs, shape)])
    };
    validate::operation(common::gpu(), &trial, build, |inputs| vec![reference(&inputs[0], &inputs[1])]).unwrap()
}

#[test]
fn a_right_kernel_passes_and_a_wrong_one_is_named() {
    // The second time with more elements than are compared one by one.
    for rows in [3, 201] {
        let right = Weighted { forward: None, backward: None };
        let report = tried(rows, right);
        assert!(report.passed(), "{report:?}");
        report.check().unwrap();
        let names: Vec<&str> = report.tensors.iter().map(|tensor| tensor.tensor.as_str()).collect();
        assert_eq!(names, ["output 0", "the gradient of `x`", "the gradient of `w`"]);
        for (fault, wrong, parts) in [
            (Weighted { forward: Some("WRONG"), ..right }, 0, &["output 0", "expected"][..]),
            (Weighted { forward: Some("HOLE"), ..right }, 0, &["output 0", "was not written at [1, 2]"]),
            (Weighted { backward: Some("WRONG"), ..right }, 2, &["the gradient of `w` [5]", "expected"]),
            (Weighted { backward: Some("HOLE"), ..right }, 2, &["the gradient of `w` [5]", "was not written at [2]"]),
        ] {
            let report = tried(rows, fault);
            let said = report.check().unwrap_err().to_string();
            assert!(!report.passed() && said.starts_with("weighted: "), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
            let right: Vec<bool> = report.tensors.iter().map(|tensor| tensor.error <= 1e-5).collect();
            assert!(right.iter().enumerate().all(|(place, right)| *right == (place != wrong)), "{said}");
        }
    }
    let worst = &tried(3, Weighted { forward: Some("HOLE"), backward: None }).tensors[0];
    assert!(worst.error.is_infinite() && worst.found.is_none() && worst.element == [1, 2]);
}

/// This crate's own operations, several at once, with numbers beside the floats, and in f16.
#[test]
fn any_part_of_a_graph_can_be_tried() {
    let inputs =
        vec![Input::drawn("x", [4, 6]), Input::drawn("w", [3, 6]), Input::numbers("lengths", [4], vec![3, 1, 2, 3])];
    let softmax = |graph: &mut Graph, inputs: &[Value]| {
        let x = graph.linear(inputs[0], inputs[1], Epilogue::default())?;
        Ok(vec![graph.softmax(x, Some(inputs[2]))?])
    };
    let reference = |inputs: &[Vec<f64>]| {
        let rows = inputs[0].chunks(6).zip(&inputs[2]).flat_map(|(x, length)| {
            let dot = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>().exp();
            let shares: Vec<f64> = inputs[1].chunks(6).map(dot).take(*length as usize).collect();
            let sum: f64 = shares.iter().sum();
            let mut row: Vec<f64> = shares.iter().map(|share| share / sum).collect();
            row.resize(3, 0.0);
            row
        });
        vec![rows.collect()]
    };
    let trial = Trial { name: "shares".into(), inputs, tolerance: 1e-5, seed: 1 };
    let report = validate::operation(common::gpu(), &trial, softmax, reference).unwrap();
    report.check().unwrap();
    assert_eq!(report.tensors.len(), 3, "lengths have no gradient");
    if common::gpu().tiles().f16 {
        let inputs = vec![Input::drawn("x", [4, 8]).half()];
        let trial = Trial { name: "tanh".into(), inputs, tolerance: 3e-3, seed: 2 };
        let build = |graph: &mut Graph, inputs: &[Value]| {
            assert_eq!((graph.precision(), graph.dtype(inputs[0])), (Dtype::F16, Dtype::F16));
            Ok(vec![graph.tanh(inputs[0])?])
        };
        let tanh = |inputs: &[Vec<f64>]| vec![inputs[0].iter().map(|x| x.tanh()).collect()];
        validate::operation(common::gpu(), &trial, build, tanh).unwrap().check().unwrap();
    }
    // What does not fit is an error, not a finding.
    let said = |reference: fn(&[Vec<f64>]) -> Vec<Vec<f64>>| {
        validate::operation(common::gpu(), &trial, softmax, reference).unwrap_err().to_string()
    };
    let message = said(|_| vec![vec![0.0; 11]]);
    assert!(message.contains("reference") && message.contains("[12]") && message.contains("[11]"), "{message}");
    assert!(said(|_| Vec::new()).contains("[12]"));
}
