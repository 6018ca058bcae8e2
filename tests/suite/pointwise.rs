//! Sums, products and functions of single elements against their reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::{Dtype, Recorder},
    kernels::pointwise::{Backward, Gelu, Gradients, Pointwise},
    reference,
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

const GATES: [(Pointwise, reference::pointwise::Pointwise); 4] = [
    (Pointwise::Relu, reference::pointwise::Pointwise::Relu),
    (Pointwise::Gelu(Gelu::Erf), reference::pointwise::Pointwise::GeluErf),
    (Pointwise::Gelu(Gelu::Tanh), reference::pointwise::Pointwise::GeluTanh),
    (Pointwise::Swish, reference::pointwise::Pointwise::Swish),
];

/// A function and its derivative at each of some numbers.
fn function(gpu: &Gpu, operation: Pointwise, values: &[f32]) -> [Vec<f32>; 2] {
    let (a, d_y) =
        (common::upload(gpu, [values.len()], values), common::upload(gpu, [values.len()], &vec![1.0; values.len()]));
    let (y, d_a) = (common::poisoned(gpu, values.len()), common::poisoned(gpu, values.len()));
    common::run(gpu, |recorder| {
        operation.record(recorder, &a, None, &y)?;
        let backward = Backward { a: &a, b: None, y: &y, d_y: &d_y };
        operation.record_backward(recorder, &backward, &Gradients { a: &d_a, b: None })
    });
    [gpu.read(&y).unwrap(), gpu.read(&d_a).unwrap()]
}

#[test]
fn gates_close_below_and_open_above() {
    for (operation, _) in GATES {
        let [y, slope] = function(common::gpu(), operation, &[-3.0e38, -1e30, -200.0, -90.0, 0.0, 90.0, 1e30, 3.0e38]);
        assert!(y[..5].iter().chain(&slope[..4]).all(|y| y.abs() < 1e-30), "{operation:?}: {y:?}, {slope:?}");
        assert_eq!(y[5..], [90.0, 1e30, 3.0e38], "{operation:?}");
        assert_eq!(slope[5..], [1.0; 3], "{operation:?}");
    }
}

/// The last digits of f32: of a gate the same share is wrong at any size, until it is as good as closed.
#[test]
fn gates_keep_the_last_digits() {
    let values: Vec<f32> = (0..28_001).map(|i| -14.0 + i as f32 / 1000.0).collect();
    let wide: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    for (operation, of_reference) in GATES {
        let [y, slope] = function(common::gpu(), operation, &values);
        let expected = of_reference.forward(&wide, None);
        let (expected_slope, _) = of_reference.backward(&wide, None, &vec![1.0; wide.len()]);
        for (i, x) in wide.iter().enumerate() {
            let error = (f64::from(y[i]) - expected[i]).abs();
            assert!(error <= 2e-6 * expected[i].abs() + 1e-11, "{operation:?}({x}): {}", y[i]);
            assert!(error <= 3e-7 * x.abs(), "{operation:?}({x}): {}", y[i]);
            let error = (f64::from(slope[i]) - expected_slope[i]).abs();
            assert!(error <= 6e-7, "the slope of {operation:?} at {x}: {}", slope[i]);
        }
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
