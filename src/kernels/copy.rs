//! Copies between strided matrices, batched: columns of a wider tensor in and out, and rows past a length set to 0.

use super::{
    expect::{expect, expect_matrix},
    forms,
    library::shader,
    matmul::Matrix,
};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid, product},
};

pub(super) static COPY: Shader = shader!("copy", specialisations);

/// `target[b, r, c] = source[b, r, c]`, or 0 where `r` is at or past the length of `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Number of matrices (at least 1).
    pub batch: usize,
}

impl Copy {
    /// Bytes of the copy.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let bytes = product(&[self.batch, self.rows, self.columns]) as f64 * dtype.bytes() as f64;
        Cost { operations: 0.0, transcendental: 0.0, read: bytes, written: bytes }
    }

    /// Records the copy; `lengths` is `[batch]`, u32. Source and target must have elements of one size and lie in different
    /// buffers. The gradient is the copy the other way.
    ///
    /// # Errors
    /// [`Error::Shape`] if a matrix reaches past its tensor, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        source: Matrix<'_>,
        lengths: Option<&Tensor>,
        target: Matrix<'_>,
    ) -> Result<()> {
        for (argument, matrix) in [("source", &source), ("target", &target)] {
            expect_matrix("copy", argument, matrix, [self.batch, self.rows, self.columns])?;
        }
        let dtype = target.tensor.dtype();
        if source.tensor.dtype().bytes() != dtype.bytes() {
            let (wanted, got) = (dtype.to_string(), source.tensor.dtype().to_string());
            return Err(Error::Shape { operation: "copy", argument: "source", wanted, got });
        }
        if let Some(lengths) = lengths {
            expect("copy", "lengths", lengths, &[self.batch])?;
        }
        let vector = source.aligned() && target.aligned() && self.columns.is_multiple_of(4);
        let lanes = recorder.gpu().tiles().workgroup;
        let invocations = product(&[self.batch, self.rows, self.columns]) / if vector { 4 } else { 1 };
        let word = |value: usize| value as u32;
        recorder.launch(&Launch {
            kernel: &COPY,
            specialisation: specialisation(recorder.gpu().tiles(), dtype, vector, lengths.is_some()),
            params: &[
                word(self.rows),
                word(self.columns),
                word(self.batch),
                word(source.offset),
                word(source.stride),
                word(source.batch_stride),
                word(target.offset),
                word(target.stride),
                word(target.batch_stride),
            ],
            tensors: &[source.tensor, lengths.unwrap_or(source.tensor), target.tensor],
            workgroups: grid(invocations.div_ceil(lanes as usize)),
            cost: self.cost(dtype),
        })
    }
}

fn specialisation(tiles: &Tiles, dtype: Dtype, vector: bool, lengths: bool) -> Specialisation {
    forms::fours(tiles, dtype, vector).define_if(lengths, "LENGTHS")
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let of = |dtype| forms::either(|vector| forms::either(|lengths| specialisation(tiles, dtype, vector, lengths)));
    forms::each_element(tiles, of).concat().concat()
}
