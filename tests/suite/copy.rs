//! The strided copy against its reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::{copy::Copy, matmul::Matrix},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("copy");
}

#[test]
fn refuses_a_matrix_that_reaches_past_its_tensor() {
    let gpu = common::gpu();
    let (small, large) =
        (common::poisoned(gpu, 12).reshape([3, 4]).unwrap(), common::poisoned(gpu, 20).reshape([5, 4]).unwrap());
    let mut recorder = Recorder::new(gpu, "test");
    let copy = Copy { rows: 4, columns: 4, batch: 1 };
    for (source, target) in [(&small, &large), (&large, &small)] {
        let result = copy.record(&mut recorder, Matrix::rows(source), None, Matrix::rows(target));
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
