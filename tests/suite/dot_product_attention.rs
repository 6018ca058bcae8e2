//! Scaled dot-product attention against its reference, and what no random case shows.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    gpu::{Dtype, Recorder},
    kernels::dot_product_attention::{DotProductAttention, Gradients, Inputs, Saved, Tile},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("dot_product_attention");
}

/// The context, log_sum_exp and the gradients of query, key and value.
struct Outcome([Vec<f32>; 5]);

/// Runs forward and backward; outputs and scratch start as NaN.
fn run(
    gpu: &Gpu,
    dtype: Dtype,
    attention: DotProductAttention,
    values: [&[f32]; 4],
    lengths: &[u32],
) -> Result<Outcome, Error> {
    let DotProductAttention { batch, heads, queries, keys, size, .. } = attention;
    let (query_shape, key_shape) = ([batch, heads, queries, size], [batch, heads, keys, size]);
    let tensor = |shape: &[usize], values: &[f32]| gpu.floats("test", shape, dtype, values);
    let poison = |shape: &[usize], dtype| gpu.floats("test", shape, dtype, &vec![f32::NAN; shape.iter().product()]);
    let poisoned = |shape: &[usize]| poison(shape, dtype);
    let [query, key, value, d_context] = values;
    let (query, d_context) = (tensor(&query_shape, query)?, tensor(&query_shape, d_context)?);
    let (key, value) = (tensor(&key_shape, key)?, tensor(&key_shape, value)?);
    let lengths = gpu.tensor("test", [batch], Dtype::U32, lengths)?;
    let (context, log_sum_exp) = (poisoned(&query_shape)?, poison(&query_shape[..3], Dtype::F32)?);
    let statistics = poison(&[batch, heads, queries, 2], Dtype::F32)?;
    let (d_query, d_key, d_value) = (poisoned(&query_shape)?, poisoned(&key_shape)?, poisoned(&key_shape)?);
    let inputs = Inputs { query: &query, key: &key, value: &value, lengths: &lengths };
    let saved = Saved { context: &context, log_sum_exp: &log_sum_exp, d_context: &d_context, statistics: &statistics };
    let gradients = Gradients { query: &d_query, key: &d_key, value: &d_value };
    let tile = Tile::choose(gpu, size);
    let mut recorder = Recorder::new(gpu, "test");
    attention.record(&mut recorder, tile, &inputs, &context, &log_sum_exp)?;
    attention.record_backward(&mut recorder, tile, &inputs, &saved, &gradients)?;
    let submission = recorder.finish()?.submit(0)?;
    gpu.wait(Some(submission))?;
    let read = |tensor: &Tensor| gpu.read_floats(tensor);
    Ok(Outcome([read(&context)?, read(&log_sum_exp)?, read(&d_query)?, read(&d_key)?, read(&d_value)?]))
}

fn wave(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * 0.7).sin() * scale).collect()
}

const SMALL: DotProductAttention =
    DotProductAttention { batch: 2, heads: 1, queries: 37, keys: 41, size: 20, causal: false };

#[test]
fn a_row_without_keys_gives_zeros_whatever_it_holds() {
    let (queries, keys) = (2 * 37 * 20, 2 * 41 * 20);
    let (mut query, mut key, mut d_context) = (wave(queries, 1.0), wave(keys, 1.0), wave(queries, 1.0));
    for values in [&mut query, &mut key, &mut d_context] {
        let half = values.len() / 2;
        values[..half].fill(f32::NAN);
    }
    for (gpu, dtype) in common::forms() {
        for causal in [false, true] {
            let attention = DotProductAttention { causal, ..SMALL };
            let Outcome(tensors) = run(gpu, dtype, attention, [&query, &key, &key, &d_context], &[0, 41]).unwrap();
            for tensor in tensors {
                let (masked, seen) = tensor.split_at(tensor.len() / 2);
                assert!(masked.iter().all(|value| *value == 0.0));
                assert!(seen.iter().all(|value| value.is_finite()) && seen.iter().any(|value| *value != 0.0));
            }
        }
    }
}

#[test]
fn scores_of_millions_pick_one_key() {
    let attention = DotProductAttention { batch: 1, queries: 5, keys: 67, size: 4, ..SMALL };
    // Query t scores key s with 2^19 s (-1)^t: even queries see the last valid key alone, odd ones the first. What is
    // read of it is exact in f16 too.
    let query: Vec<f32> = (0..5).flat_map(|t| [if t % 2 == 0 { 1024.0 } else { -1024.0 }, 0.0, 0.0, 0.0]).collect();
    let key: Vec<f32> = (0..67).flat_map(|s| [1024.0 * s as f32, 0.0, 0.0, 0.0]).collect();
    let value: Vec<f32> = (0..67 * 4).map(|at| at as f32).collect();
    for (gpu, dtype) in common::forms() {
        let Outcome([context, log_sum_exp, rest @ ..]) =
            run(gpu, dtype, attention, [&query, &key, &value, &wave(20, 1.0)], &[50]).unwrap();
        for t in 0..5 {
            let picked = if t % 2 == 0 { 49.0 } else { 0.0 };
            assert_eq!(context[t * 4..][..4], [0.0, 1.0, 2.0, 3.0].map(|d| picked * 4.0 + d));
            assert_eq!(log_sum_exp[t], 524_288.0 * picked);
        }
        assert!(rest.iter().flatten().all(|value| value.is_finite()));
    }
}

#[test]
fn repeats_its_bits() {
    let attention = DotProductAttention { batch: 2, heads: 3, queries: 70, keys: 65, size: 64, causal: true };
    let (query, key) = (wave(2 * 3 * 70 * 64, 1.0), wave(2 * 3 * 65 * 64, 1.5));
    for (gpu, dtype) in common::forms() {
        let bits = || {
            let Outcome(tensors) = run(gpu, dtype, attention, [&query, &key, &key, &query], &[65, 33]).unwrap();
            tensors.map(|tensor| tensor.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        assert!(bits() == bits());
    }
}

#[test]
fn refuses_what_it_cannot_run() {
    let gpu = common::gpu();
    let large = DotProductAttention { batch: 1, heads: 1, queries: 1, keys: 1, size: 129, causal: false };
    let values = wave(129, 1.0);
    let error = run(gpu, Dtype::F32, large, [&values; 4], &[1]).err().unwrap();
    assert!(matches!(error, Error::Limit { need: 129, have: 128, .. }), "{error}");
    let values = wave(37 * 20 * 2, 1.0);
    let tensor = gpu.tensor("test", [2, 1, 37, 20], Dtype::F32, &values).unwrap();
    let log_sum_exp = gpu.tensor("test", [2, 1, 37], Dtype::F32, &values[..74]).unwrap();
    let lengths = gpu.tensor("test", [2], Dtype::U32, &[1_u32, 1]).unwrap();
    let inputs = Inputs { query: &tensor, key: &tensor, value: &tensor, lengths: &lengths };
    let mut recorder = Recorder::new(gpu, "test");
    let error = SMALL.record(&mut recorder, Tile::choose(gpu, 20), &inputs, &tensor, &log_sum_exp).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "key", .. }), "{error}");
}
