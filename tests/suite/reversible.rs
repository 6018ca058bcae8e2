//! Reversible sums: the same gradients as with kept activations, at a memory that does not grow with the layers.

use softalign::{
    gpu::Dtype,
    graph::{Epilogue, Graph, Program, ProgramOptions, Value},
    kernels::Step,
};

use crate::common;

const ROWS: usize = 33;
const SIZE: usize = 20;

/// Layers that add to two streams in turn, with dropout.
fn streams(graph: &mut Graph, layers: usize, is_reversible: bool) -> ([Value; 2], Vec<Value>) {
    let x = graph.input("x", [1, ROWS, SIZE], Dtype::F32);
    let (mut streams, mut weights) = ([x, x], vec![x]);
    for layer in 0..2 * layers {
        let [to, from] = [layer % 2, 1 - layer % 2];
        let weight = graph.input(format!("weight {layer}"), [SIZE, SIZE], Dtype::F32);
        weights.push(weight);
        let beginning = graph.beginning();
        let made = graph.linear(streams[from], weight, Epilogue::default()).unwrap();
        let made = graph.tanh(made).unwrap();
        let made = graph.dropout(made, 0.25).unwrap();
        streams[to] = match is_reversible {
            true => graph.reversible_add(streams[to], streams[from], made, beginning).unwrap(),
            false => graph.add(streams[to], made).unwrap(),
        };
    }
    (streams, weights)
}

/// The Program of the gradients, and the gradients.
fn program(layers: usize, is_reversible: bool) -> (Program, Vec<Value>) {
    let mut graph = Graph::new();
    let (streams, weights) = streams(&mut graph, layers, is_reversible);
    let upstream = ["first", "second"].map(|name| graph.input(name, [1, ROWS, SIZE], Dtype::F32));
    let pairs = [(streams[0], upstream[0]), (streams[1], upstream[1])];
    let gradients = graph.gradients_from(&pairs, &weights).unwrap();
    let kept = [&streams[..], &gradients].concat();
    let options = ProgramOptions { outputs: &kept, ..ProgramOptions::default() };
    (Program::compile(common::gpu(), &graph, &options).unwrap(), kept)
}

fn values(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7 + seed * 131) as f32 * 0.61).sin()).collect()
}

#[test]
fn gradients_are_those_of_kept_activations() {
    let found = [true, false].map(|is_reversible| {
        let (mut program, kept) = program(3, is_reversible);
        let names: Vec<_> = program.inputs().map(str::to_owned).collect();
        for name in names {
            let seed = name.len() + name.bytes().last().unwrap() as usize;
            let count = if name.starts_with("weight") { SIZE * SIZE } else { ROWS * SIZE };
            program.write(&name, &values(seed, count)).unwrap();
        }
        program.run(Step { step: 3, seed: 5, ..Step::default() }).unwrap();
        kept.iter().map(|value| program.read::<f32>(*value).unwrap()).collect::<Vec<_>>()
    });
    let [again, stored] = found;
    assert_eq!(again.len(), 9);
    for (number, (again, stored)) in again.iter().zip(&stored).enumerate() {
        let largest = stored.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 0.1, "value {number} says something");
        let error = again.iter().zip(stored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        assert!(error < 1e-5, "value {number}: {error}");
    }
}

#[test]
fn memory_of_activations_does_not_grow_with_the_layers() {
    let slots = |layers, is_reversible| program(layers, is_reversible).0.memory().slots;
    assert_eq!(slots(3, true), slots(12, true));
    assert!(slots(12, false) > 3 * slots(12, true));
}
