//! Embedded words of the small model, copied into their columns of the decoder's features.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    small_model::{ROWS, SIZE, recorded},
};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    kernels::{copy::Copy, matmul::Matrix},
};

pub(super) fn workloads() -> Vec<Workload> {
    vec![Workload::new(format!("copy/R{ROWS}_C{SIZE}_of{}", 4 * SIZE), copy)]
}

fn copy(gpu: &Gpu) -> Result<Subject> {
    let width = 4 * SIZE;
    let host = Problem::new(gpu).values(ROWS * SIZE, 1.0);
    let source = gpu.tensor("bench", [ROWS, SIZE], Dtype::F32, &host)?;
    let target = gpu.zeros("bench", [ROWS, width], Dtype::F32)?;
    let record = |recorder: &mut Recorder| {
        let into = Matrix::rows(&target).offset(width - SIZE);
        Copy { rows: ROWS, columns: SIZE, batch: 1 }.record(recorder, Matrix::rows(&source), None, into)
    };
    let found = target.clone();
    recorded(gpu, record, 0, move |gpu| {
        let mut expected = vec![0.0; ROWS * width];
        for (row, values) in host.chunks(SIZE).enumerate() {
            let into = &mut expected[(row + 1) * width - SIZE..(row + 1) * width];
            into.iter_mut().zip(values).for_each(|(into, value)| *into = f64::from(*value));
        }
        Ok(sample::whole(&gpu.read(&found)?, &expected))
    })
}
