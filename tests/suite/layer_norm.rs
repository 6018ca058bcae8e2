//! Layer normalisation and its RMS form against their reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error, Gpu,
    gpu::{Dtype, Recorder},
    kernels::layer_norm::{Backward, Inputs, LayerNorm, Norm, Outputs, Parameters},
    reference::layer_norm as reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("layer_norm");
}

#[test]
fn the_rms_form_agrees_with_the_reference() {
    common::validate("rms_norm");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(31);
    for norm in [reference::Norm::Layer, reference::Norm::Rms] {
        for (rows, columns) in [(1, 2), (3, 5), (4, 8)] {
            let operation = reference::LayerNorm { rows, columns, norm, epsilon: 0.1 };
            let inputs = vec![random.tensor(&[rows, columns]), random.tensor(&[columns]), random.tensor(&[columns])];
            let up = random.tensor(&[rows, columns]);
            let found = operation.backward(&inputs[0], &inputs[1], &up);
            let gradients: [(&str, &[f64]); 3] = [("x", &found.x), ("gain", &found.gain), ("bias", &found.bias)];
            let objective = |x: &[Vec<f64>]| dot(&operation.forward(&x[0], &x[1], Some(&x[2])), &up);
            check_gradients(&format!("{operation:?}"), &inputs, objective, &gradients);
        }
    }
}

/// y of rows with a gain of 1 and without a bias.
fn normalised(gpu: &Gpu, dtype: Dtype, norm: Norm, rows: usize, x: &[f32]) -> Vec<f32> {
    let columns = x.len() / rows;
    let x = common::upload_as(gpu, dtype, [rows, columns], x);
    let gain = common::upload(gpu, [columns], &vec![1.0; columns]);
    let (y, statistics) = (common::poisoned_as(gpu, dtype, rows * columns), common::poisoned(gpu, 2 * rows));
    let operation = LayerNorm { rows, columns, norm, epsilon: 1e-6 };
    common::run(gpu, |recorder| {
        let inputs = Inputs { x: &x, gain: &gain, bias: None };
        operation.record(recorder, &inputs, &Outputs { y: &y, statistics: &statistics })
    });
    gpu.read_floats(&y).unwrap()
}

#[test]
fn rows_without_spread_are_zeros_and_those_of_one_size_are_ones() {
    for (gpu, dtype) in common::forms() {
        for columns in [1, 4, 7, 300] {
            let rows = [0.0_f32, 3.0, -1024.0].map(|x| vec![x; columns]).concat();
            assert!(normalised(gpu, dtype, Norm::Layer, 3, &rows).iter().all(|y| *y == 0.0), "{columns} columns");
            let y = normalised(gpu, dtype, Norm::Rms, 3, &rows);
            let expected = [0.0, 1.0, -1.0].map(|y| vec![y; columns]).concat();
            assert!(y.iter().zip(&expected).all(|(y, expected)| (y - expected).abs() < 1e-3), "{columns}: {y:?}");
        }
    }
}

/// The variance of a row far from 0 is that of centred elements: its mean square would have no digit of it.
#[test]
fn a_row_far_from_zero_keeps_its_digits() {
    for gpu in [common::gpu(), common::portable()] {
        let row: Vec<f32> = (0..64).map(|i| 8192.0 + (i % 2) as f32).collect();
        let y = normalised(gpu, Dtype::F32, Norm::Layer, 1, &row);
        assert!(y.iter().enumerate().all(|(i, y)| (y - [-1.0, 1.0][i % 2]).abs() < 1e-5), "{y:?}");
    }
}

#[test]
fn a_variance_past_f32_shows() {
    for gpu in [common::gpu(), common::portable()] {
        for norm in [Norm::Layer, Norm::Rms] {
            let y = normalised(gpu, Dtype::F32, norm, 2, &[1e30, -1e30, 1e30, -1e30, 1.0, -1.0, 1.0, -1.0]);
            assert!(y[..4].iter().all(|y| !y.is_finite()), "{y:?}");
            assert!(y[4..].iter().all(|y| (y.abs() - 1.0).abs() < 1e-5), "{y:?}");
        }
    }
}

#[test]
fn more_rows_than_a_grid_has_columns() {
    let rows = 65_537;
    let y = normalised(common::gpu(), Dtype::F32, Norm::Layer, rows, &[1.0, -1.0].repeat(rows));
    assert!(y.iter().enumerate().all(|(i, y)| (y - [1.0, -1.0][i % 2]).abs() < 1e-5));
}

/// Gradients of all that has one, as bits.
fn gradients(gpu: &Gpu, rows: usize, columns: usize) -> Vec<Vec<u32>> {
    let operation = LayerNorm { rows, columns, norm: Norm::Layer, epsilon: 1e-5 };
    let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.37).sin()).collect();
    let (x, d_y) = (common::upload(gpu, [rows, columns], &values), common::upload(gpu, [rows, columns], &values));
    let gain = common::upload(gpu, [columns], &values[..columns]);
    let (y, statistics) = (common::poisoned(gpu, rows * columns), common::poisoned(gpu, 2 * rows));
    let [d_x, d_gain, d_bias] = [rows * columns, columns, columns].map(|elements| common::poisoned(gpu, elements));
    let scratch = [(); 2].map(|()| common::poisoned(gpu, operation.scratch()));
    common::run(gpu, |recorder| {
        let inputs = Inputs { x: &x, gain: &gain, bias: Some(&gain) };
        operation.record(recorder, &inputs, &Outputs { y: &y, statistics: &statistics })?;
        let backward = Backward { x: &x, gain: &gain, statistics: &statistics, d_y: &d_y };
        operation.record_backward(recorder, &backward, &d_x)?;
        let gradients = Parameters { gain: &d_gain, bias: Some(&d_bias) };
        let scratch = Parameters { gain: &scratch[0], bias: Some(&scratch[1]) };
        operation.record_parameters_backward(recorder, &backward, &gradients, &scratch)
    });
    [d_x, d_gain, d_bias].iter().map(|tensor| common::bits(gpu, tensor)).collect()
}

#[test]
fn the_same_bits_twice() {
    for gpu in [common::gpu(), common::portable()] {
        assert!(gradients(gpu, 1000, 65) == gradients(gpu, 1000, 65));
    }
}

#[test]
fn refuses_wrong_shapes_and_settings() {
    let gpu = common::gpu();
    let [one, two, four] = [1, 2, 4].map(|elements| common::poisoned(gpu, elements));
    let mut recorder = Recorder::new(gpu, "test");
    let operation = LayerNorm { rows: 2, columns: 2, norm: Norm::Layer, epsilon: 1e-5 };
    let refuses = |wanted, result: softalign::Result<()>| {
        assert!(matches!(result, Err(Error::Shape { argument, .. }) if argument == wanted), "{result:?}");
    };
    let inputs = Inputs { x: &four, gain: &two, bias: None };
    let other = four.reshape([2, 2]).unwrap();
    let outputs = Outputs { y: &other, statistics: &four };
    let bias = Inputs { bias: Some(&one), ..inputs };
    refuses("x", operation.record(&mut recorder, &Inputs { x: &two, ..inputs }, &outputs));
    refuses("gain", operation.record(&mut recorder, &Inputs { gain: &one, ..inputs }, &outputs));
    refuses("bias", operation.record(&mut recorder, &bias, &outputs));
    refuses("statistics", operation.record(&mut recorder, &inputs, &Outputs { statistics: &two, ..outputs }));
    refuses("statistics", operation.record(&mut recorder, &inputs, &outputs));
    for epsilon in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let operation = LayerNorm { epsilon, ..operation };
        refuses("epsilon", operation.record(&mut recorder, &inputs, &outputs));
    }
    let backward = Backward { x: &four, gain: &two, statistics: &four, d_y: &four };
    refuses("d_x", operation.record_backward(&mut recorder, &backward, &two));
    let both = Parameters { gain: &two, bias: Some(&one) };
    let gain = Parameters { gain: &two, bias: None };
    refuses("scratch.bias", operation.record_parameters_backward(&mut recorder, &backward, &both, &gain));
    refuses("gradient", operation.record_parameters_backward(&mut recorder, &backward, &both, &both));
    let small = Parameters { gain: &one, bias: None };
    refuses("scratch", operation.record_parameters_backward(&mut recorder, &backward, &gain, &small));
}
