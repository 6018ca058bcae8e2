//! Sum, product, tanh and logistic function against their reference.

use crate::common;
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    kernels::pointwise::{Backward, Gradients, Pointwise},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("pointwise");
}

#[test]
fn extreme_values_saturate() {
    let gpu = common::gpu();
    let values = [-3.0e38_f32, -1e30, -200.0, -90.0, -0.0, 0.0, 90.0, 200.0, 3.0e38];
    let x = gpu.tensor("x", [values.len()], Dtype::F32, &values).unwrap();
    for (operation, low, middle) in [(Pointwise::Tanh, -1.0, 0.0), (Pointwise::Sigmoid, 0.0, 0.5)] {
        let y = common::poisoned(gpu, values.len());
        common::run(gpu, |recorder| operation.record(recorder, &x, None, &y));
        let y: Vec<f32> = gpu.read(&y).unwrap();
        let expected: Vec<f32> = values
            .iter()
            .map(|x| {
                if *x == 0.0 {
                    middle
                } else if *x < 0.0 {
                    low
                } else {
                    1.0
                }
            })
            .collect();
        assert!(y.iter().zip(&expected).all(|(y, expected)| (y - expected).abs() < 1e-30), "{operation:?}: {y:?}");
    }
}

#[test]
fn sizes_around_a_workgroup_and_past_one_row_of_the_grid() {
    let gpu = common::gpu();
    let lanes = gpu.tiles().workgroup as usize;
    let past_the_grid = 4 * lanes * 65_535 + 5;
    let bindable = |elements: &usize| 4 * *elements as u64 + 16 <= gpu.limits().max_storage_buffer_binding_size;
    for elements in [1, 4 * lanes - 1, 4 * lanes, 4 * lanes + 1, past_the_grid].into_iter().filter(bindable) {
        let x = gpu.tensor("x", [elements], Dtype::F32, &vec![1.5_f32; elements]).unwrap();
        let y = common::poisoned(gpu, elements);
        common::run(gpu, |recorder| Pointwise::Add.record(recorder, &x, Some(&x), &y));
        assert!(gpu.read::<f32>(&y).unwrap().iter().all(|y| *y == 3.0), "{elements} elements");
    }
}

#[test]
fn refuses_wrong_operands() {
    let gpu = common::gpu();
    let (a, b) = (common::poisoned(gpu, 4), common::poisoned(gpu, 5));
    let backward = Backward { a: &a, b: None, y: &a, d_y: &a };
    let mut recorder = Recorder::new(gpu, "test");
    for result in [
        Pointwise::Add.record(&mut recorder, &a, Some(&b), &a),
        Pointwise::Add.record(&mut recorder, &a, None, &a),
        Pointwise::Tanh.record(&mut recorder, &a, Some(&a), &a),
        Pointwise::Tanh.record_backward(&mut recorder, &backward, &Gradients { a: &b, b: None }),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
