//! Sums against their reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::reduction::{ColumnSum, Sum, SumOfSquares},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("reduction");
}

/// Whole numbers add up exactly, so any element that is lost or counted twice shows.
#[test]
fn counts_every_element_once() {
    let gpu = common::gpu();
    for elements in [1, 3, 511, 512, 513, 65_537, 3_000_001] {
        let values: Vec<f32> = (0..elements).map(|i| [0.0, 1.0, 2.0][i % 3]).collect();
        let x = common::upload(gpu, [elements], &values);
        let sum = Sum { elements };
        let scratch = common::poisoned(gpu, sum.scratch());
        let (total, squares) = (common::poisoned(gpu, 1), common::poisoned(gpu, 1));
        common::run(gpu, |recorder| {
            sum.record(recorder, &x, &scratch, &total)?;
            SumOfSquares { elements }.record(recorder, &x, &scratch, &squares)
        });
        assert_eq!(gpu.read::<f32>(&total).unwrap(), [values.iter().sum::<f32>()], "{elements} elements");
        let expected: f32 = values.iter().map(|x| x * x).sum();
        assert_eq!(gpu.read::<f32>(&squares).unwrap(), [expected], "{elements} elements");
    }
}

#[test]
fn column_sums_of_many_rows_are_exact_and_the_same_twice() {
    let gpu = common::gpu();
    for (rows, columns) in [(10_007, 33), (1536, 256), (1, 5), (40_000, 4)] {
        let x = common::upload(gpu, [rows, columns], &vec![0.1_f32; rows * columns]);
        let sum = ColumnSum { rows, columns };
        let scratch = common::poisoned(gpu, sum.scratch());
        let (first, second) = (common::poisoned(gpu, columns), common::poisoned(gpu, columns));
        common::run(gpu, |recorder| {
            sum.record(recorder, &x, &scratch, &first)?;
            sum.record(recorder, &x, &scratch, &second)
        });
        assert_eq!(common::bits(gpu, &first), common::bits(gpu, &second));
        let expected = 0.1_f32 * rows as f32;
        let sums: Vec<f32> = gpu.read(&first).unwrap();
        assert!(sums.iter().all(|sum| (sum / expected - 1.0).abs() < 3e-6), "{rows}, {columns}: {:?}", sums[0]);
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let (one, four) = (common::poisoned(gpu, 1), common::poisoned(gpu, 4));
    let mut recorder = Recorder::new(gpu, "test");
    for result in [
        Sum { elements: 5 }.record(&mut recorder, &four, &four, &one),
        Sum { elements: 0 }.record(&mut recorder, &four, &four, &one),
        ColumnSum { rows: 40, columns: 1 }.record(&mut recorder, &four, &one, &one),
        ColumnSum { rows: 4, columns: 1 }.record_backward(&mut recorder, &four, &four),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
