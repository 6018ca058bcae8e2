//! Graphs: shapes checked when they are built, gradients, memory shared where it may be, replays that make nothing.

mod common;

use approx::assert_relative_eq;
use softalign::{
    Error,
    gpu::Dtype,
    graph::{Epilogue, Graph, Parameters, Program, ProgramOptions, Value},
    kernels::{Step, matmul::Activation},
};

fn compile(graph: &Graph, outputs: &[Value]) -> Program {
    let options = ProgramOptions { label: "test".into(), outputs, ..ProgramOptions::default() };
    Program::compile(common::gpu(), graph, &options).unwrap()
}

#[test]
fn errors_name_operation_argument_wanted_and_got() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3], Dtype::F32);
    let weight = graph.input("weight", [5, 4], Dtype::F32);
    let tokens = graph.input("tokens", [2], Dtype::U32);
    let error = graph.linear(x, weight, Epilogue::default()).unwrap_err().to_string();
    assert_eq!(error, "matmul: b: wanted 3 rows after transposition, to match a [2, 3], got [5, 4]");
    let error = graph.add(x, weight).unwrap_err().to_string();
    assert_eq!(error, "pointwise: b: wanted [2, 3], got [5, 4]");
    let error = graph.embedding(x, x).unwrap_err().to_string();
    assert_eq!(error, "embedding: tokens: wanted u32 [_, _], got f32 [2, 3]");
    let error = graph.cross_entropy(x, weight, 0.0).unwrap_err().to_string();
    assert_eq!(error, "cross_entropy: targets: wanted u32, 2 tokens, got f32 [5, 4]");
    assert!(matches!(graph.dropout(x, 1.0), Err(Error::Shape { argument: "rate", .. })));
    assert!(matches!(graph.select(x, 2), Err(Error::Shape { argument: "index", .. })));
    assert!(matches!(graph.reshape(x, [7]), Err(Error::Shape { argument: "shape", .. })));
    assert!(matches!(graph.add(tokens, tokens), Ok(_)) == false || graph.sum(tokens).is_err());
}

#[test]
fn a_gradient_is_never_dropped_silently() {
    let mut graph = Graph::new();
    let x = graph.input("x", [3], Dtype::F32);
    let unused = graph.input("unused", [3], Dtype::F32);
    let loss = graph.sum(x).unwrap();
    let error = graph.gradients(loss, &[unused]).unwrap_err().to_string();
    assert!(error.contains("`unused`, which it does not use"), "{error}");
    assert!(graph.gradients(x, &[x]).is_err(), "a vector is no loss");
    // Nodes of a backward pass have no derivative of their own, and say so.
    let y = graph.tanh(x);
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let again = graph.sum(gradient).unwrap();
    assert!(graph.gradients(again, &[x]).unwrap_err().to_string().contains("has no derivative here"));
}

/// d/dx of the sum of tanh(x·x + x), x used in three places.
#[test]
fn gradients_of_values_that_are_used_often_add_up() {
    let mut graph = Graph::new();
    let x = graph.input("x", [5], Dtype::F32);
    let square = graph.multiply(x, x).unwrap();
    let sum = graph.add(square, x).unwrap();
    let y = graph.tanh(sum);
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let mut program = compile(&graph, &[loss, gradient]);
    let values = [-1.5_f32, -0.3, 0.0, 0.4, 2.0];
    program.write("x", &values).unwrap();
    program.run(Step::default()).unwrap();
    let found: Vec<f32> = program.read(gradient).unwrap();
    for (x, found) in values.iter().zip(found) {
        let tanh = (x * x + x).tanh();
        assert_relative_eq!(found, (1.0 - tanh * tanh) * (2.0 * x + 1.0), epsilon = 2e-6);
    }
}

/// The backward of the cross-entropy works in place on the logits; where they are kept, it works on a copy.
#[test]
fn a_kept_value_survives_an_operation_in_place() {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 3], Dtype::F32);
    let targets = graph.input("targets", [4], Dtype::U32);
    let logits = graph.multiply(x, x).unwrap();
    let loss = graph.cross_entropy(logits, targets, 0.1).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut run = |outputs: &[Value]| -> Vec<f32> {
        let mut program = compile(&graph, outputs);
        program.write("x", &values).unwrap();
        program.write("targets", &[1_u32, 2, 0, 1]).unwrap();
        program.run(Step { loss_scale: 1.0, ..Step::default() }).unwrap();
        if outputs.len() > 1 {
            let kept: Vec<f32> = program.read(logits).unwrap();
            assert!(kept.iter().zip(&values).all(|(kept, x)| (kept - x * x).abs() < 1e-6));
        }
        program.read(gradient).unwrap()
    };
    assert_eq!(run(&[gradient]), run(&[gradient, logits]));
}

#[test]
fn a_replay_makes_nothing_and_is_one_submit() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let x = graph.input("x", [8, 16], Dtype::F32);
    let weight = graph.parameter("weight", [16, 16]);
    let mut y = x;
    for _ in 0..6 {
        let epilogue = Epilogue { activation: Activation::Tanh, ..Epilogue::default() };
        y = graph.linear(y, weight, epilogue).unwrap();
    }
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[weight]).unwrap()[0];
    let parameters = Parameters::new(gpu, [("weight".to_owned(), [16, 16].into())]).unwrap();
    let options = ProgramOptions {
        label: "replay".into(),
        parameters: Some(&parameters),
        outputs: &[loss, gradient],
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let memory = program.memory();
    assert!(memory.slots < memory.unshared, "{memory:?}");
    let before = gpu.counters();
    for step in 1..=5 {
        program.write("x", &[0.1_f32; 128]).unwrap();
        program.run(Step { step, ..Step::default() }).unwrap();
    }
    let after = gpu.counters();
    // Other tests of this file may make buffers at the same time, but none with these names; so the Program itself is asked.
    assert_eq!(program.runs(), 5);
    assert!(after.submits >= before.submits + 5);
    assert!(program.write("y", &[0.0_f32]).is_err() && program.write("x", &[0.0_f32]).is_err());
    assert!(matches!(program.tensor(y), Err(Error::Shape { .. })), "its memory is shared");
}

#[test]
fn parameters_that_are_missing_or_of_another_shape_are_refused() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let weight = graph.parameter("weight", [2, 2]);
    let loss = graph.sum(weight).unwrap();
    for shape in [None, Some([2, 3])] {
        let parameters = shape.map(|shape| Parameters::new(gpu, [("weight".to_owned(), shape.into())]).unwrap());
        let options = ProgramOptions { parameters: parameters.as_ref(), outputs: &[loss], ..ProgramOptions::default() };
        let error = Program::compile(gpu, &graph, &options).unwrap_err().to_string();
        assert_eq!(error, "program: parameters: wanted `weight` [2, 2], got none of that name and shape");
    }
}
