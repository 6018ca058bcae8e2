//! W1: products of matrices, `W1/MxKxN`, stored as they are (NN) or one of them transposed.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    typed,
};
use crate::{Gpu, Result, gpu::Dtype, graph::Epilogue, kernels::Step, reference};

const SHAPES: [[usize; 3]; 8] = [
    [1, 768, 2304],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [64, 512, 1536],
    [64, 256, 768],
    [2048, 256, 10_000],
];

/// Shapes that are measured in f16 too.
const HALF_SHAPES: [[usize; 3]; 2] = [[1024, 1024, 1024], [64, 512, 1536]];

/// Rows and columns of the block of an output that is compared.
const SAMPLE: [usize; 2] = [48, 160];

pub(super) fn workloads() -> Vec<Workload> {
    let forms = [("", false, false), ("/nt", false, true), ("/tn", true, false)];
    let of_shape = |(dtype, [m, k, n]): (Dtype, [usize; 3])| {
        forms.map(|(form, transpose_a, transpose_b)| {
            let product = move |gpu: &Gpu| product(gpu, dtype, [m, k, n], transpose_a, transpose_b);
            Workload::of(dtype, format!("W1/{m}x{k}x{n}{form}"), product)
        })
    };
    typed(&SHAPES, &HALF_SHAPES).flat_map(of_shape).collect()
}

fn product(gpu: &Gpu, dtype: Dtype, [m, k, n]: [usize; 3], transpose_a: bool, transpose_b: bool) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let stored = |rows: usize, columns: usize, transposed| if transposed { [columns, rows] } else { [rows, columns] };
    let a = problem.random(&stored(m, k, transpose_a), 1.0);
    // Of a layer's products, one of two activations alone is transposed on the left: the gradient of the weights.
    let b_shape = stored(k, n, transpose_b);
    let b = if transpose_a { problem.random(&b_shape, 1.0) } else { problem.parameter(&b_shape, 1.0) };
    let c = problem.graph.matmul(a.value, transpose_a, b.value, transpose_b, Epilogue::default())?;
    problem.finish(&[c], Step::default(), move |outputs| {
        // The sample: whole rows times whole columns.
        let (rows, columns) = (sample::spread(m, SAMPLE[0]), sample::spread(n, SAMPLE[1]));
        let of_a = |row: usize, inner: usize| a.host[if transpose_a { inner * m + row } else { row * k + inner }];
        let of_b =
            |inner: usize, column: usize| b.host[if transpose_b { column * k + inner } else { inner * n + column }];
        let a: Vec<f64> = rows
            .iter()
            .flat_map(|row| (0..k).map(move |inner| (*row, inner)))
            .map(|(row, inner)| of_a(row, inner))
            .collect();
        let b: Vec<f64> = columns
            .iter()
            .flat_map(|column| (0..k).map(move |inner| (inner, *column)))
            .map(|(inner, column)| of_b(inner, column))
            .collect();
        let reference = reference::matmul::Matmul {
            m: rows.len(),
            n: columns.len(),
            k,
            batch: 1,
            transpose_a: false,
            transpose_b: true,
            activation: reference::matmul::Activation::None,
        };
        let expected = reference.forward(&a, &b, None);
        if outputs[0].iter().any(|value| !value.is_finite()) {
            return f64::INFINITY;
        }
        let found: Vec<f32> = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| row * n + column))
            .map(|at| outputs[0][at])
            .collect();
        sample::whole(&found, &expected)
    })
}
