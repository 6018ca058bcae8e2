//! Checks of [`crate::kernels::cached_attention`].

use super::{Case, KernelChecks, ROUNDING, largest, widen};
use crate::{
    Result,
    kernels::{
        cached_attention::{Bias, Cache, CachedAttention, Segments},
        matmul::Matrix,
    },
    reference::cached_attention as reference,
};

/// As of dot-product attention: outliers make scores of up to 100, and exp makes an error of its weight of a score's.
const TOLERANCE: f64 = 5e-6;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "cached_attention",
    forward,
    backward: None,
    f32: [TOLERANCE; 2],
    f16: Some([TOLERANCE + ROUNDING; 2]),
}];

/// A step of a search: keys and values are appended, then queries attend, then rows continue others.
fn forward(case: &mut Case<'_>) -> Result<f64> {
    let (rows, heads) = (1 + case.below(4), 1 + case.below(3));
    let (size, capacity) = (if case.coin() { 4 * case.size(16) } else { case.size(65) }, case.size(600));
    let width = heads * size;
    let scale = 1.0 / (size as f32).sqrt();
    let segments = case.coin().then(|| Segments { steps: case.size(300), memory: case.below(300) });
    let attention = CachedAttention { rows, heads, size, capacity, scale, segments };
    let (counted, step) = (case.below(3), case.below(3));
    let starts: Vec<u32> = (0..rows).map(|_| case.below(capacity) as u32).collect();
    let positions: Vec<_> = starts.iter().map(|start| (*start as usize + counted + step).min(capacity - 1)).collect();
    let origins: Vec<u32> = (0..rows * capacity).map(|_| case.below(rows) as u32).collect();
    let parents: Vec<u32> = (0..rows).map(|_| case.below(rows) as u32).collect();
    // A step's query, key and value lie beside one another, as one projection makes them.
    let projected = case.values(rows * 3 * width, 1.0);
    let [mut key, mut value] = [(); 2].map(|()| case.values(rows * capacity * width, 1.0));
    // None, for each head, or for each row as well.
    let kind = case.below(3);
    let shape = [vec![1], vec![heads, 2 * capacity - 1], vec![rows, heads, capacity]][kind].clone();
    let bias = case.values(shape.iter().product(), 1.0);
    let projected_gpu = case.upload_activation([rows, 3 * width], &projected)?;
    let (key_gpu, value_gpu) = (
        case.upload_activation([rows, capacity, width], &key)?,
        case.upload_activation([rows, capacity, width], &value)?,
    );
    let bias_gpu = case.upload(shape.as_slice(), &bias)?;
    let added = [None, Some(Bias::OfHeads(&bias_gpu)), Some(Bias::OfRows(&bias_gpu))][kind];
    let [starts_gpu, parents_gpu] = [case.upload_u32([rows], &starts)?, case.upload_u32([rows], &parents)?];
    let counter_gpu = case.upload_u32([1], &[counted as u32])?;
    // Each row's own position is its own.
    let mut origins = origins;
    for (row, position) in positions.iter().enumerate() {
        origins[row * capacity + position] = row as u32;
    }
    let origins_gpu = case.upload_u32([rows, capacity], &origins)?;
    let next_gpu = case.upload_u32([rows, capacity], &vec![u32::MAX; rows * capacity])?;
    let cache = Cache {
        key: &key_gpu,
        value: &value_gpu,
        origins: &origins_gpu,
        starts: &starts_gpu,
        counter: &counter_gpu,
        step,
    };
    let scratch = case.poisoned([attention.scratch()])?;
    let context = case.poisoned_activation([rows, width])?;
    let part = |part: usize| Matrix::rows(&projected_gpu).offset(part * width);
    case.run(|recorder| {
        attention.record_append(recorder, part(1), part(2), &cache)?;
        attention.record(recorder, part(0), added, &cache, [&scratch, &context])?;
        attention.record_follow(recorder, &parents_gpu, &cache, &next_gpu)
    })?;

    for (row, position) in positions.iter().enumerate() {
        let to = (row * capacity + position) * width;
        for (part, kept) in [(1, &mut key), (2, &mut value)] {
            kept[to..to + width].copy_from_slice(&projected[(3 * row + part) * width..][..width]);
        }
    }
    let scale = f64::from(scale);
    let segments = segments.map(|Segments { steps, memory }| [steps, memory]);
    let reference = reference::CachedAttention { rows, heads, size, capacity, scale, segments };
    let query: Vec<f32> = projected.chunks(3 * width).flat_map(|row| &row[..width]).copied().collect();
    let bias = widen(&bias);
    let (wide_key, wide_value) = (widen(&key), widen(&value));
    let wanted = reference.forward(&reference::CachedInputs {
        query: &widen(&query),
        key: &wide_key,
        value: &wide_value,
        origins: &origins,
        positions: &positions,
        bias: [None, Some(reference::Bias::OfHeads(&bias)), Some(reference::Bias::OfRows(&bias))][kind],
    });
    let followed = reference.follow(&origins, &parents, &positions) == case.gpu.read::<u32>(&next_gpu)?;
    let appended = case.error(&key_gpu, &wide_key, 0.0)?.max(case.error(&value_gpu, &wide_value, 0.0)?) == 0.0;
    let error = case.error(&context, &wanted, largest(&wide_value).max(1.0))?;
    Ok(if followed && appended { error } else { f64::INFINITY })
}
