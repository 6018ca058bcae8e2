//! The matrix product against its reference.

use crate::common;
use softalign::{
    Gpu, GpuOptions,
    gpu::{AdapterClass, Dtype},
    kernels::matmul::{Matmul, Matrix, Operands, Tile, cooperative_trials},
    wgpu::Features,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("matmul");
}

/// A loop this long is cut short by some drivers without a word; the product takes several dispatches.
#[test]
fn sums_of_any_length_are_whole() {
    let (m, n, k) = (3, 5, 140_003);
    for gpu in [common::gpu(), common::portable()] {
        for (transpose_a, transpose_b) in [(false, true), (true, false)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32).collect();
            let (a_gpu, b_gpu) = (common::upload(gpu, [a.len()], &a), common::upload(gpu, [b.len()], &b));
            let (bias, c) = (common::upload(gpu, [n], &[0.5; 5]), common::poisoned(gpu, m * n));
            let matmul = Matmul { m, n, k, batch: 1, transpose_a, transpose_b, ..Matmul::default() };
            common::run(gpu, |recorder| {
                let tile = Tile::choose(recorder.gpu(), m);
                let a = Matrix::rows(&a_gpu).stride(if transpose_a { m } else { k });
                let b = Matrix::rows(&b_gpu).stride(if transpose_b { k } else { n });
                matmul.record(recorder, tile, &Operands { a, b, bias: Some(&bias), c: Matrix::rows(&c).stride(n) })
            });
            let found: Vec<f32> = gpu.read(&c).unwrap();
            for (index, found) in found.into_iter().enumerate() {
                let (row, column) = (index / n, index % n);
                let at = |i: usize| {
                    let a = a[if transpose_a { i * m + row } else { row * k + i }];
                    let b = b[if transpose_b { column * k + i } else { i * n + column }];
                    f64::from(a) * f64::from(b)
                };
                // Whole numbers and a half, which f32 holds exactly.
                assert_eq!(f64::from(found), (0..k).map(at).sum::<f64>() + 0.5);
            }
        }
    }
}

/// Each form of loads: whole vectors, odd C, odd A, all odd, and sums whose last steps are fewer than four; and tiles that the
/// edges cut, in each direction. A single row has kernels of its own, by rows and by columns of B.
#[test]
fn odd_sizes_take_every_form() {
    let tiled =
        [(40, 72, 36), (40, 75, 36), (40, 72, 35), (75, 72, 36), (41, 70, 33), (36, 68, 7), (9, 132, 20), (70, 3, 1)];
    let single = [
        (1, 136, 40),
        (1, 128, 40),
        (1, 256, 8),
        (1, 768, 24),
        (1, 68, 36),
        (1, 75, 33),
        (1, 64, 7),
        (1, 3, 64),
        (1, 5, 9_001),
    ];
    let sizes = [&tiled[..], &single].concat();
    for gpu in [common::gpu(), common::portable()] {
        for (m, n, k) in sizes.iter().copied() {
            for bits in 0..8 {
                let [transpose_a, transpose_b, accumulate] = [1, 2, 4].map(|bit| bits & bit != 0);
                let matmul = Matmul { m, n, k, batch: 1, transpose_a, transpose_b, accumulate, ..Matmul::default() };
                whole_numbers(gpu, matmul);
            }
        }
    }
}

/// Whole numbers, whose products and sums f32 holds exactly: every element of C must be right to the last bit.
fn whole_numbers(gpu: &Gpu, matmul: Matmul) {
    let Matmul { m, n, k, transpose_a, transpose_b, accumulate, .. } = matmul;
    let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 1.0).collect();
    let before = if accumulate { 2.0 } else { f32::NAN };
    let (a_gpu, b_gpu) = (common::upload(gpu, [a.len()], &a), common::upload(gpu, [b.len()], &b));
    let c = common::upload(gpu, [m * n], &vec![before; m * n]);
    common::run(gpu, |recorder| {
        let tile = Tile::choose(recorder.gpu(), m);
        let a = Matrix::rows(&a_gpu).stride(if transpose_a { m } else { k });
        let b = Matrix::rows(&b_gpu).stride(if transpose_b { k } else { n });
        matmul.record(recorder, tile, &Operands { a, b, bias: None, c: Matrix::rows(&c).stride(n) })
    });
    for (index, found) in gpu.read::<f32>(&c).unwrap().into_iter().enumerate() {
        let (row, column) = (index / n, index % n);
        let at = |i: usize| {
            a[if transpose_a { i * m + row } else { row * k + i }]
                * b[if transpose_b { column * k + i } else { i * n + column }]
        };
        let expected = (0..k).map(at).sum::<f32>() + if accumulate { 2.0 } else { 0.0 };
        assert_eq!(found, expected, "{matmul:?} at ({row}, {column})");
    }
}

/// In the forms of a GPU, on an adapter that has them: large products of f16, and no others. Nobody else is asked for what wgpu calls
/// experimental.
#[test]
fn cooperative_matrices_are_used_where_they_are_right_and_left_on_request() {
    for experimental in [true, false] {
        let options = GpuOptions { tiles: Some(AdapterClass::Discrete), experimental, ..GpuOptions::from_env() };
        let gpu = Gpu::open(&options).unwrap();
        let has = gpu.tiles().cooperative.is_some();
        assert!(experimental || !has);
        assert_eq!(gpu.device().features().contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX), has);
        let trials = cooperative_trials(&gpu);
        assert_eq!(trials.is_empty(), !has);
        assert!(trials.iter().all(|(_, result)| result.is_ok()), "{trials:?}");
        if !gpu.tiles().f16 {
            continue;
        }
        let made = |start: &str| gpu.pipeline_labels().iter().filter(|label| label.starts_with(start)).count();
        let by_trial = made("matmul/cooperative/");
        halves(&gpu, [63, 64, 64]);
        assert_eq!(made("matmul/cooperative/"), by_trial, "too small to pay");
        halves(&gpu, [65, 68, 36]);
        assert_eq!(made("matmul/cooperative/") > by_trial, has);
    }
}

/// A product of whole numbers in f16, which holds every one of its elements.
fn halves(gpu: &Gpu, [m, n, k]: [usize; 3]) {
    let values =
        |count: usize, from: f32| (0..count).map(|i| (i * (i + 1) / 2 % 5) as f32 - from).collect::<Vec<f32>>();
    let (a, b) = (values(m * k, 2.0), values(k * n, 1.0));
    let upload = |shape: [usize; 2], values: &[f32]| common::upload_as(gpu, Dtype::F16, shape, values);
    let (a_gpu, b_gpu, c) = (upload([m, k], &a), upload([k, n], &b), common::poisoned_as(gpu, Dtype::F16, m * n));
    common::run(gpu, |recorder| {
        let [a, b] = [&a_gpu, &b_gpu].map(Matrix::rows);
        let operands = Operands { a, b, bias: None, c: Matrix::rows(&c).stride(n) };
        let product = Matmul { m, n, k, batch: 1, ..Matmul::default() };
        product.record(recorder, Tile::choose(recorder.gpu(), m), &operands)
    });
    for (index, found) in gpu.read_floats(&c).unwrap().into_iter().enumerate() {
        let (row, column) = (index / n, index % n);
        let expected: f32 = (0..k).map(|i| a[row * k + i] * b[i * n + column]).sum();
        assert_eq!(found, expected, "{m} x {n} x {k} at ({row}, {column})");
    }
}
