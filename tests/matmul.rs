//! The matrix product against its reference.

mod common;

use softalign::kernels::matmul::{Matmul, Matrix, Tile};

#[test]
fn agrees_with_the_reference() {
    common::validate("matmul", 60);
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
                matmul.record(recorder, tile, a, b, Some(&bias), Matrix::rows(&c).stride(n))
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
