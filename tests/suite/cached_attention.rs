//! Attention to a cache against its reference, and against what attention without a cache makes of the same text.

use crate::common;
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    kernels::{
        cached_attention::{Cache, CachedAttention},
        matmul::Matrix,
    },
    reference::dot_product_attention::{DotProductAttention, DotProductInputs},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("cached_attention");
}

const ROWS: usize = 3;
const STEPS: usize = 5;
const WIDTH: usize = 8;

/// Three hypotheses that continue one another: each one's context at the last step is that of causal attention over the steps on its
/// own path.
#[test]
fn hypotheses_see_their_own_paths() {
    let gpu = common::gpu();
    let attention = CachedAttention { rows: ROWS, heads: 2, size: 4, capacity: STEPS, scale: 0.5, segments: None };
    let parents: [[u32; ROWS]; STEPS - 1] = [[0, 0, 1], [2, 1, 1], [2, 0, 0], [1, 1, 2]];
    let value = |step: usize, row: usize, column: usize, of: f32| ((step * 31 + row * 7 + column) as f32 * of).sin();
    let of_step = |step: usize, of: f32| -> Vec<f32> {
        (0..ROWS * WIDTH).map(|at| value(step, at / WIDTH, at % WIDTH, of)).collect()
    };
    let floats = |shape: &[usize], values: &[f32]| gpu.tensor("test", shape, Dtype::F32, values).unwrap();
    let words = |shape: &[usize], values: &[u32]| gpu.tensor("test", shape, Dtype::U32, values).unwrap();
    let cache = [(); 2].map(|()| floats(&[ROWS, STEPS, WIDTH], &[f32::NAN; ROWS * STEPS * WIDTH]));
    let own: Vec<u32> = (0..ROWS * STEPS).map(|at| (at / STEPS) as u32).collect();
    let origins = [(); 2].map(|()| words(&[ROWS, STEPS], &own));
    let (starts, counter) = (words(&[ROWS], &[0; ROWS]), words(&[1], &[0]));
    let scratch = floats(&[attention.scratch()], &vec![f32::NAN; attention.scratch()]);
    let context = floats(&[ROWS, WIDTH], &[f32::NAN; ROWS * WIDTH]);
    let steps: Vec<_> =
        (0..STEPS).map(|step| [0.3, 0.7, 1.1].map(|of| floats(&[ROWS, WIDTH], &of_step(step, of)))).collect();
    let chosen: Vec<_> = parents.iter().map(|parents| words(&[ROWS], parents)).collect();
    let mut recorder = Recorder::new(gpu, "test");
    for (step, [query, key, values]) in steps.iter().enumerate() {
        let cache = Cache {
            key: &cache[0],
            value: &cache[1],
            origins: &origins[step % 2],
            starts: &starts,
            counter: &counter,
            step,
        };
        attention.record_append(&mut recorder, Matrix::rows(key), Matrix::rows(values), &cache).unwrap();
        attention.record(&mut recorder, Matrix::rows(query), None, &cache, [&scratch, &context]).unwrap();
        if let Some(parents) = chosen.get(step) {
            attention.record_follow(&mut recorder, parents, &cache, &origins[(step + 1) % 2]).unwrap();
        }
    }
    gpu.wait(Some(recorder.finish().unwrap().submit(0).unwrap())).unwrap();
    let found: Vec<f32> = gpu.read(&context).unwrap();
    for row in 0..ROWS {
        let mut path = vec![row];
        for parents in parents.iter().rev() {
            path.insert(0, parents[path[0]] as usize);
        }
        // [N, T, D] of the path.
        let heads = |of: f32| -> Vec<f64> {
            let steps = |head: usize| {
                path.iter()
                    .enumerate()
                    .flat_map(move |(step, row)| (0..4).map(move |d| f64::from(value(step, *row, head * 4 + d, of))))
            };
            (0..2).flat_map(steps).collect()
        };
        let full =
            DotProductAttention { batch: 1, heads: 2, queries: STEPS, keys: STEPS, size: 4, causal: true, scale: 0.5 };
        let inputs = DotProductInputs {
            query: &heads(0.3),
            key: &heads(0.7),
            value: &heads(1.1),
            lengths: &[STEPS as u32],
            bias: None,
            kept: None,
        };
        let (wanted, _) = full.forward(&inputs);
        for column in 0..WIDTH {
            let wanted = wanted[(column / 4 * STEPS + STEPS - 1) * 4 + column % 4];
            approx::assert_abs_diff_eq!(f64::from(found[row * WIDTH + column]), wanted, epsilon = 1e-6);
        }
    }
}

#[test]
fn refuses_what_it_cannot_run() {
    let gpu = common::gpu();
    let attention = CachedAttention { rows: 1, heads: 1, size: 257, capacity: 2, scale: 1.0, segments: None };
    let floats =
        |shape: &[usize]| gpu.tensor("test", shape, Dtype::F32, &vec![0.0_f32; shape.iter().product()]).unwrap();
    let words = |shape: &[usize]| gpu.tensor("test", shape, Dtype::U32, &vec![0_u32; shape.iter().product()]).unwrap();
    let (key, value, query) = (floats(&[1, 2, 257]), floats(&[1, 2, 257]), floats(&[1, 257]));
    let (origins, starts, counter) = (words(&[1, 2]), words(&[1]), words(&[1]));
    let cache = Cache { key: &key, value: &value, origins: &origins, starts: &starts, counter: &counter, step: 0 };
    let mut recorder = Recorder::new(gpu, "test");
    let row = Matrix::rows(&query);
    let error = attention.record_append(&mut recorder, row, row, &cache).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "size of a head", .. }), "{error}");
    let attention = CachedAttention { size: 256, ..attention };
    let error = attention.record_append(&mut recorder, row, row, &cache).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "the cache of keys", .. }), "{error}");
}
