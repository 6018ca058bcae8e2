//! Checks of [`crate::kernels::embedding`].

use super::{Case, KernelChecks, largest, relative_error, widen};
use crate::{
    Result, Tensor,
    kernels::{embedding::Embedding, matmul::Matrix},
    reference,
};

/// Sums of up to 300 rows, relative to the sums of absolute values.
const TOLERANCE: f64 = 1e-6;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "embedding",
    forward,
    backward: Some(backward),
    f32: [0.0, TOLERANCE],
    f16: Some([0.0, TOLERANCE]),
}];

/// Half of the cases have one token, such as padding, in a third of all places.
fn sizes(case: &mut Case<'_>) -> (Embedding, Vec<u32>) {
    let (vocabulary, size, tokens) = (case.size(500), case.size(129), case.size(300));
    let padding = if case.coin() { Some(0) } else { None };
    let embedding = Embedding { vocabulary, size, tokens, padding };
    let skewed = case.coin();
    let token = |case: &mut Case<'_>| {
        if skewed && case.below(3) == 0 { 0 } else { case.below(embedding.vocabulary) as u32 }
    };
    let tokens = (0..embedding.tokens).map(|_| token(case)).collect();
    (embedding, tokens)
}

fn reference(embedding: &Embedding) -> reference::embedding::Embedding {
    let Embedding { vocabulary, size, padding, .. } = *embedding;
    reference::embedding::Embedding { vocabulary, size, padding }
}

/// Where rows lie: half of the cases have them one behind the other.
#[derive(Clone, Copy)]
struct Rows {
    offset: usize,
    stride: usize,
}

impl Rows {
    fn draw(case: &mut Case<'_>, size: usize) -> Self {
        let unit = if case.coin() { 4 } else { 1 };
        match case.coin() {
            true => Self { offset: 0, stride: size },
            false => Self { offset: unit * case.below(9), stride: (size + case.below(9)).next_multiple_of(unit) },
        }
    }

    fn elements(self, rows: usize) -> usize {
        self.offset + rows * self.stride
    }

    /// The row and the column of an element, if it is one's of a row.
    fn place(self, element: usize, size: usize) -> Option<(usize, usize)> {
        let (row, column) = (element.checked_sub(self.offset)? / self.stride, (element - self.offset) % self.stride);
        (column < size).then_some((row, column))
    }

    fn of(self, tensor: &Tensor) -> Matrix<'_> {
        Matrix { tensor, offset: self.offset, stride: self.stride, batch_stride: 0 }
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (embedding, tokens) = sizes(case);
    let Embedding { vocabulary, size, .. } = embedding;
    let table = case.values(vocabulary * size, 1.0);
    let (table_gpu, tokens_gpu) = (case.upload([vocabulary, size], &table)?, case.upload_u32([tokens.len()], &tokens)?);
    let rows = Rows::draw(case, size);
    let y = case.poisoned_activation([rows.elements(tokens.len())])?;
    case.run(|recorder| embedding.record(recorder, &table_gpu, &tokens_gpu, rows.of(&y)))?;
    let expected = reference(&embedding).forward(&widen(&table), &tokens);
    let found = case.gpu.read_floats(&y)?;
    // Nothing is written between rows.
    let kept = |(element, value): (usize, &f32)| rows.place(element, size).is_some() || value.is_nan();
    if !found.iter().enumerate().all(kept) {
        return Ok(f64::INFINITY);
    }
    let among_rows = found.into_iter().enumerate().filter(|(element, _)| rows.place(*element, size).is_some());
    let found: Vec<f32> = among_rows.map(|(_, value)| value).collect();
    Ok(relative_error(&found, &expected, 0.0))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (embedding, tokens) = sizes(case);
    let Embedding { vocabulary, size, .. } = embedding;
    let d_y = case.values(tokens.len() * size, 1.0);
    let order = embedding.order(&tokens)?;
    let rows = Rows::draw(case, size);
    let apart: Vec<f32> = (0..rows.elements(tokens.len()))
        .map(|element| rows.place(element, size).map_or(f32::NAN, |(row, column)| d_y[row * size + column]))
        .collect();
    let (order, d_y_gpu) = (case.upload_u32([order.len()], &order)?, case.upload_activation([apart.len()], &apart)?);
    let d_table = case.poisoned([vocabulary, size])?;
    case.run(|recorder| embedding.record_backward(recorder, &order, rows.of(&d_y_gpu), &d_table))?;
    let reference = reference(&embedding);
    let d_y = widen(&d_y);
    let absolute: Vec<f64> = d_y.iter().map(|d| d.abs()).collect();
    let scale = largest(&reference.backward(&tokens, &absolute));
    case.error(&d_table, &reference.backward(&tokens, &d_y), scale)
}
