//! Operations on arrays: which array goes where, and what is kept. What the operations compute, their kernels' own tests check, and
//! for every one of these the tests of the Python package do.

use std::slice::from_ref;

use crate::common;
use softalign::{
    Tensor,
    arrays::{Array, Arrays, Operation},
    gpu::Recorder,
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

/// Recorded on tensors of the device, an operation computes what it computes on arrays, and again when they have changed.
#[test]
fn operations_are_recorded_among_other_kernels() {
    let gpu = common::gpu();
    let arrays = Arrays::new(gpu);
    let (h, lengths) = (3, [4, 2]);
    let weights = [array(&[3 * h, 5], 1), array(&[3 * h, h], 2), array(&[3 * h], 3), array(&[3 * h], 4)];
    let on_device = |array: &Array| common::upload(gpu, array.shape.clone(), &array.values);
    let tensors: Vec<_> = [array(&[2, 4, 5], 0), array(&[1, 2, h], 5)].iter().chain(&weights).map(on_device).collect();
    let counts = common::upload_u32(gpu, [2], &lengths);
    let outputs = [common::poisoned(gpu, 2 * 4 * h), common::poisoned(gpu, 2 * h)];
    let outputs = [outputs[0].reshape([2, 4, h]).unwrap(), outputs[1].reshape([1, 2, h]).unwrap()];
    let mut recorder = Recorder::new(gpu, "gru");
    let inputs: Vec<_> = tensors.iter().collect();
    Operation::Gru.record_on(&mut recorder, &inputs, Some(&counts), &[&outputs[0], &outputs[1]]).unwrap();
    let recording = recorder.finish().unwrap();
    for first in [0, 7] {
        let given = [array(&[2, 4, 5], first), array(&[1, 2, h], 5)];
        gpu.write(&tensors[0], &given[0].values).unwrap();
        gpu.wait(Some(recording.submit(0).unwrap())).unwrap();
        let expected = arrays.forward(Operation::Gru, &[&given[..], &weights].concat(), Some(&lengths)).unwrap();
        for (tensor, expected) in outputs.iter().zip(expected) {
            assert_eq!(gpu.read::<f32>(tensor).unwrap(), expected.values);
        }
    }
    let said = |outputs: &[&Tensor]| {
        let recorder = &mut Recorder::new(gpu, "wrong");
        Operation::Gru.record_on(recorder, &inputs, Some(&counts), outputs).unwrap_err().to_string()
    };
    assert_eq!(said(&[&outputs[1]]), "gru: outputs: wanted f32 [2, 4, 3] and f32 [1, 2, 3], got f32 [1, 2, 3]");
    let (x, recorder) = (&outputs[0], &mut Recorder::new(gpu, "wrong"));
    let error = Operation::Softmax.record_on(recorder, &[x], None, &[x]).unwrap_err().to_string();
    assert!(error.contains("the same memory"), "{error}");
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
