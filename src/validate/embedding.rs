//! Checks of [`crate::kernels::embedding`].

use super::{Case, KernelChecks, largest, widen};
use crate::{Result, kernels::embedding::Embedding, reference};

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

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (embedding, tokens) = sizes(case);
    let Embedding { vocabulary, size, .. } = embedding;
    let table = case.values(vocabulary * size, 1.0);
    let (table_gpu, tokens_gpu) = (case.upload([vocabulary, size], &table)?, case.upload_u32([tokens.len()], &tokens)?);
    let y = case.poisoned_activation([tokens.len(), size])?;
    case.run(|recorder| embedding.record(recorder, &table_gpu, &tokens_gpu, &y))?;
    case.error(&y, &reference(&embedding).forward(&widen(&table), &tokens), 0.0)
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let (embedding, tokens) = sizes(case);
    let Embedding { vocabulary, size, .. } = embedding;
    let d_y = case.values(tokens.len() * size, 1.0);
    let order = embedding.order(&tokens)?;
    let (order, d_y_gpu) =
        (case.upload_u32([order.len()], &order)?, case.upload_activation([tokens.len(), size], &d_y)?);
    let d_table = case.poisoned([vocabulary, size])?;
    case.run(|recorder| embedding.record_backward(recorder, &order, &d_y_gpu, &d_table))?;
    let reference = reference(&embedding);
    let d_y = widen(&d_y);
    let absolute: Vec<f64> = d_y.iter().map(|d| d.abs()).collect();
    let scale = largest(&reference.backward(&tokens, &absolute));
    case.error(&d_table, &reference.backward(&tokens, &d_y), scale)
}
