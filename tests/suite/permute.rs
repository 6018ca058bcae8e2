//! Extents in another order against their reference, and parts of extents.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::{Graph, Program, ProgramOptions, Value},
    kernels::{Step, permute::Permute},
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("permute");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(32);
    for order in [[0, 1, 2, 3], [0, 2, 1, 3], [3, 0, 2, 1], [3, 2, 1, 0]] {
        let permute = reference::permute::Permute { extents: [2, 1, 3, 4], order };
        let (x, up) = (random.tensor(&permute.extents), random.tensor(&permute.extents));
        let found = permute.backward(&up);
        check_gradients(&format!("{order:?}"), &[x], |x| dot(&permute.forward(&x[0]), &up), &[("x", &found)]);
    }
}

#[test]
fn an_inverse_leads_back() {
    for order in [[0, 1, 2, 3], [1, 2, 3, 0], [2, 0, 3, 1], [3, 2, 1, 0]] {
        let permute = Permute { extents: [2, 3, 5, 7], order };
        assert_eq!(permute.inverse().inverse(), permute);
        let reference =
            |permute: Permute| reference::permute::Permute { extents: permute.extents, order: permute.order };
        let x: Vec<f64> = (0..210).map(f64::from).collect();
        assert_eq!(reference(permute.inverse()).forward(&reference(permute).forward(&x)), x);
    }
}

#[test]
fn refuses_wrong_shapes_and_orders() {
    let gpu = common::gpu();
    let [four, five] = [4, 5].map(|elements| common::poisoned(gpu, elements));
    let mut recorder = Recorder::new(gpu, "test");
    for (extents, order) in [([1, 1, 1, 5], [0, 1, 2, 3]), ([1, 1, 2, 2], [0, 1, 2, 2]), ([1, 1, 2, 2], [0, 1, 2, 4])] {
        let result = Permute { extents, order }.record(&mut recorder, &four, &five);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3], Dtype::F32);
    let deep = graph.input("deep", [1; 5], Dtype::F32);
    for (x, order) in [(x, &[0][..]), (x, &[0, 0]), (x, &[0, 2]), (deep, &[0, 1, 2, 3, 4])] {
        assert!(matches!(graph.permute(x, order), Err(Error::Shape { argument: "order", .. })), "{order:?}");
    }
}

/// What a graph of one input makes of 0, 1, 2 and so on, and its gradient under 1, 2, 3 and so on.
fn run(shape: &[usize], build: fn(&mut Graph, Value) -> Value) -> [Vec<f32>; 2] {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let x = graph.input("x", shape, Dtype::F32);
    let y = build(&mut graph, x);
    let d_y = graph.input("d_y", graph.shape(y).clone(), Dtype::F32);
    let d_x = graph.gradients_from(&[(y, d_y)], &[x]).unwrap()[0];
    let options = ProgramOptions { label: "test".into(), outputs: &[y, d_x], ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let counted = |shape: &[usize], first: usize| -> Vec<f32> {
        (0..shape.iter().product()).map(|i: usize| (first + i) as f32).collect()
    };
    program.write("x", &counted(shape, 0)).unwrap();
    program.write("d_y", &counted(graph.dims(y), 1)).unwrap();
    program.run(Step::default()).unwrap();
    [program.read(y).unwrap(), program.read(d_x).unwrap()]
}

#[test]
fn a_matrix_is_transposed() {
    let [y, d_x] = run(&[2, 3], |graph, x| graph.permute(x, &[1, 0]).unwrap());
    assert_eq!((y, d_x), (vec![0., 3., 1., 4., 2., 5.], vec![1., 3., 5., 2., 4., 6.]));
}

#[test]
fn a_slice_takes_a_part_of_any_extent() {
    let [y, d_x] = run(&[2, 3, 2], |graph, x| graph.slice(x, 1, 1..3).unwrap());
    assert_eq!(y, [2., 3., 4., 5., 8., 9., 10., 11.]);
    assert_eq!(d_x, [0., 0., 1., 2., 3., 4., 0., 0., 5., 6., 7., 8.]);
    let [y, d_x] = run(&[3, 2], |graph, x| graph.slice(x, 0, 1..2).unwrap());
    assert_eq!((y, d_x), (vec![2., 3.], vec![0., 0., 1., 2., 0., 0.]));
    let [y, d_x] = run(&[2, 3], |graph, x| graph.slice(x, 1, 0..1).unwrap());
    assert_eq!((y, d_x), (vec![0., 3.], vec![1., 0., 0., 2., 0., 0.]));
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3], Dtype::F32);
    for (extent, range) in [(2, 0..1), (0, 1..3), (1, 2..2), (1, 3..4)] {
        let result = graph.slice(x, extent, range);
        assert!(matches!(result, Err(Error::Shape { argument: "range", .. })), "{result:?}");
    }
}
