//! Operations on arrays: which array goes where, and what is kept. What the operations compute, their kernels' own tests check, and
//! for every one of these the tests of the Python package do.

use std::slice::from_ref;

use crate::common;
use softalign::{
    arrays::{Array, Arrays, Operation},
    reference::matmul::{Activation, Matmul},
};

fn array(dims: &[usize], first: usize) -> Array {
    let elements = dims.iter().product::<usize>();
    Array { shape: dims.into(), values: (first..first + elements).map(|i| (i as f32 * 0.7).sin()).collect() }
}

#[test]
fn products_of_many_matrices_and_their_gradients() {
    let arrays = Arrays::new(common::gpu());
    let (m, n, k) = (3, 5, 7);
    // Folded into rows, and pair by pair.
    for (front, others) in [(&[2, 2][..], &[][..]), (&[2, 2], &[2, 2])] {
        let a = array(&[front, &[m, k]].concat(), 0);
        let b = array(&[others, &[k, n]].concat(), 100);
        let d_c = array(&[front, &[m, n]].concat(), 200);
        let (batch, rows) = if others.is_empty() { (1, 4 * m) } else { (4, m) };
        let (activation, [transpose_a, transpose_b]) = (Activation::None, [false; 2]);
        let matmul = Matmul { m: rows, n, k, batch, transpose_a, transpose_b, activation };
        let [a64, b64, d_c64] = [&a, &b, &d_c].map(|x| x.values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let expected = matmul.backward(&a64, &b64, None, &d_c64);

        let c = arrays.forward(Operation::Matmul, &[a.clone(), b.clone()], None).unwrap().remove(0);
        assert_eq!(c.shape, d_c.shape);
        common::assert_close("matmul", &front, &c.values, &matmul.forward(&a64, &b64, None), 1e-5);
        let inputs = [a.clone(), b.clone()];
        let found = arrays.backward(Operation::Matmul, &inputs, None, &[Some(d_c)]).unwrap();
        assert_eq!([&found[0].shape, &found[1].shape], [&a.shape, &b.shape]);
        common::assert_close("matmul", &front, &found[0].values, &expected.a, 1e-5);
        common::assert_close("matmul", &front, &found[1].values, &expected.b, 1e-5);
    }
}

#[test]
fn the_same_shapes_again_make_nothing() {
    let gpu = common::gpu();
    let arrays = Arrays::new(gpu);
    let softmax =
        |first, lengths| arrays.forward(Operation::Softmax, &[array(&[3, 5], first)], Some(lengths)).unwrap().remove(0);
    let found = softmax(0, &[5, 2, 3]);
    let made = || (gpu.counters().pipelines, gpu.counters().bind_groups);
    let before = made();
    assert_ne!(softmax(9, &[1, 5, 5]), found);
    assert_eq!(softmax(0, &[5, 2, 3]), found);
    assert_eq!(made(), before);
}

#[test]
fn what_does_not_fit_is_named() {
    let arrays = Arrays::new(common::gpu());
    let [x, y] = [array(&[2, 3], 0), array(&[3, 2], 0)];
    let forward = |operation, inputs: &[Array], lengths| arrays.forward(operation, inputs, lengths).unwrap_err();
    let backward = |upstream: &[Option<Array>]| {
        let inputs = [x.clone(), y.clone()];
        arrays.backward(Operation::Matmul, &inputs, None, upstream).unwrap_err()
    };
    for (error, wanted) in [
        (forward(Operation::Softmax, &[], None), "softmax: inputs: wanted 1 array, x, got 0 arrays"),
        (forward(Operation::Matmul, &[x.clone(), y.clone()], Some(&[1])), "and no lengths, got 2 arrays and lengths"),
        (forward(Operation::Softmax, from_ref(&x), Some(&[3, 4])), "softmax: lengths: wanted at most 3, got 4"),
        (forward(Operation::Softmax, &[Array { values: vec![0.0; 5], ..x.clone() }], None), "with 5 values"),
        (backward(&[Some(x.clone())]), "upstream: wanted f32 [2, 2], got f32 [2, 3]"),
        (backward(&[None]), "wanted a value that the loss depends on"),
        (backward(&[None, Some(x.clone())]), "wanted gradients of 1 outputs, got one of output 1"),
    ] {
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
