//! The softmax against its reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::{Dtype, Recorder},
    kernels::softmax::Softmax,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("softmax");
}

fn softmax(gpu: &Gpu, dtype: Dtype, rows: usize, x: &[f32], lengths: Option<&[u32]>) -> Vec<f32> {
    let columns = x.len() / rows;
    let y = common::poisoned_as(gpu, dtype, rows * columns);
    let x = common::upload_as(gpu, dtype, [rows, columns], x);
    let lengths = lengths.map(|lengths| common::upload_u32(gpu, [rows], lengths));
    common::run(gpu, |recorder| Softmax { rows, columns }.record(recorder, &x, lengths.as_ref(), &y));
    gpu.read_floats(&y).unwrap()
}

#[test]
fn extreme_and_masked_rows() {
    for (gpu, dtype) in common::forms() {
        let [large, largest] = if dtype == Dtype::F16 { [6e3, 65504.0] } else { [1e20, 3e38] };
        for columns in [5, 8, 300, 3001, 4000] {
            let mut x = vec![0.0_f32; 4 * columns];
            x[..columns].fill(f32::NAN);
            x[columns..2 * columns].fill(f32::NEG_INFINITY);
            x[2 * columns..3 * columns].fill(-large);
            x[3 * columns..].fill(-largest);
            x[2 * columns + 1] = large;
            x[3 * columns] = largest;
            let lengths = [0, columns as u32, columns as u32, u32::MAX];
            let mut expected = vec![0.0; 4 * columns];
            expected[2 * columns + 1] = 1.0;
            expected[3 * columns] = 1.0;
            // Few rows, and enough for one an invocation, the last workgroup's not all there.
            for copies in [1, 65] {
                let y = softmax(gpu, dtype, 4 * copies, &x.repeat(copies), Some(&lengths.repeat(copies)));
                assert!(y == expected.repeat(copies), "{columns} columns, {copies} copies");
            }
        }
    }
}

#[test]
fn more_rows_than_a_grid_has_columns() {
    let gpu = common::gpu();
    let rows = 65_537;
    assert!(softmax(gpu, Dtype::F32, rows, &vec![1.0; 4 * rows], None).iter().all(|y| *y == 0.25));
    assert!(softmax(gpu, Dtype::F32, rows, &vec![1.0; rows], None).iter().all(|y| *y == 1.0));
}

#[test]
fn the_same_bits_twice() {
    let x: Vec<f32> = (0..100 * 1024).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
    for (gpu, dtype) in common::forms() {
        assert!(softmax(gpu, dtype, 100, &x, None) == softmax(gpu, dtype, 100, &x, None));
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let (four, six) = (common::poisoned(gpu, 4), common::poisoned(gpu, 6));
    let mut recorder = Recorder::new(gpu, "test");
    let softmax = Softmax { rows: 2, columns: 2 };
    for result in [
        softmax.record(&mut recorder, &four, None, &six),
        softmax.record(&mut recorder, &four, Some(&four), &four),
        softmax.record_backward(&mut recorder, &four, &six, &four),
        Softmax { rows: 0, columns: 4 }.record(&mut recorder, &four, None, &four),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
