//! Biases by relative position against their reference, and the buckets that T5's paper and code describe.

use crate::common;
use softalign::{
    Error,
    gpu::Dtype,
    graph::{Graph, Program, ProgramOptions},
    kernels::relative_position_bias::PositionBuckets,
    reference::relative_position_bias::RelativePositionBias,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("relative_position_bias");
}

/// Both floors work the buckets out, each in its own way, and no rounding may move an edge.
#[test]
fn kernel_and_reference_have_the_same_buckets() {
    for (count, farthest) in [(8, 16), (32, 128), (20, 50), (36, 81), (60, 1000), (4, 3)] {
        for bidirectional in [false, true] {
            let buckets = PositionBuckets { count, bidirectional, farthest };
            let reference =
                RelativePositionBias { buckets: count, bidirectional, farthest, heads: 1, queries: 1, keys: 1 };
            for distance in -3000..3000 {
                assert_eq!(buckets.bucket(distance), reference.bucket(distance), "{buckets:?}, {distance} steps");
            }
        }
    }
    // Edges of T5's own: 8 near buckets of a side, then powers of 16^(1/8).
    let buckets = PositionBuckets { count: 32, bidirectional: true, farthest: 128 };
    let of = |distances: [i64; 8]| distances.map(|distance| buckets.bucket(distance));
    assert_eq!(of([0, -1, -7, -8, -15, -16, -127, -128]), [0, 1, 7, 8, 9, 10, 15, 15]);
    assert_eq!(of([1, 7, 8, 15, 16, 127, 128, 9999]), [17, 23, 24, 25, 26, 31, 31, 31]);
    let causal = PositionBuckets { bidirectional: false, ..buckets };
    assert_eq!([5, 0, -15, -16, -31, -32, -128].map(|distance| causal.bucket(distance)), [0, 0, 15, 16, 21, 21, 31]);
}

#[test]
fn reference_has_the_gradient_of_a_table() {
    let operation =
        RelativePositionBias { buckets: 8, bidirectional: true, farthest: 9, heads: 2, queries: 7, keys: 11 };
    let table: Vec<f64> = (0..16).map(|at| f64::from(at).sin()).collect();
    let d_bias: Vec<f64> = (0..34).map(|at| f64::from(at).cos()).collect();
    let objective = |table: &[f64]| operation.forward(table).iter().zip(&d_bias).map(|(x, d)| x * d).sum::<f64>();
    for (at, found) in operation.backward(&d_bias).into_iter().enumerate() {
        let moved = |by: f64| {
            let mut table = table.clone();
            table[at] += by;
            objective(&table)
        };
        approx::assert_relative_eq!(found, (moved(1e-3) - moved(-1e-3)) / 2e-3, epsilon = 1e-9);
    }
}

#[test]
fn refuses_buckets_that_cannot_be() {
    for (count, bidirectional, farthest, wrong) in
        [(1, false, 128, "buckets"), (7, true, 128, "buckets"), (61, false, 128, "buckets"), (32, true, 8, "farthest")]
    {
        let mut graph = Graph::new();
        let table = graph.input("table", [count, 2], Dtype::F32);
        let buckets = PositionBuckets { count, bidirectional, farthest };
        let bias = graph.relative_position_bias(table, buckets, [3, 4]).unwrap();
        let options = ProgramOptions { label: "test".into(), outputs: &[bias], ..ProgramOptions::default() };
        let error = Program::compile(common::gpu(), &graph, &options).err().unwrap();
        assert!(matches!(error, Error::Shape { argument, .. } if argument == wrong), "{error}");
    }
}
