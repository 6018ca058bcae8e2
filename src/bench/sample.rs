//! Which part of a large output is compared: the reference is plain loops, and some outputs would take it minutes.

use crate::validate::relative_error;

/// `count` of the numbers below `n`, the first and the last among them, at distances that no tile size divides evenly.
pub(super) fn spread(n: usize, count: usize) -> Vec<usize> {
    if count >= n {
        return (0..n).collect();
    }
    (0..count.max(2)).map(|i| i * (n - 1) / (count.max(2) - 1)).collect()
}

/// The number out of `n` that the reference has time for, where each takes so many multiplications (a tanh counts as twenty).
pub(super) fn affordable(n: usize, each: usize) -> usize {
    const MULTIPLICATIONS: usize = 100_000_000;
    (MULTIPLICATIONS / each.max(1)).clamp(2, n.max(2)).min(n)
}

/// The rows of a matrix of `width` columns.
pub(super) fn rows<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| &values[row * width..][..width]).copied().collect()
}

/// All zeros but for these rows.
pub(super) fn only_rows(values: &mut [f32], width: usize, rows: &[usize]) {
    for (row, values) in values.chunks_mut(width).enumerate() {
        if !rows.contains(&row) {
            values.fill(0.0);
        }
    }
}

/// The error of a whole output.
pub(super) fn whole(found: &[f32], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    relative_error(found, expected, 0.0)
}

/// The error of some rows of an output, all of which must at least be numbers.
pub(super) fn some(found: &[f32], width: usize, which: &[usize], expected: &[f64]) -> f64 {
    if found.iter().all(|value| value.is_finite()) {
        whole(&rows(found, width, which), expected)
    } else {
        f64::INFINITY
    }
}

/// The error of an output that is 0 but for some rows.
pub(super) fn sparse(found: &[f32], width: usize, which: &[usize], expected: &[f64]) -> f64 {
    let others = found.chunks(width).enumerate().filter(|(row, _)| !which.contains(row));
    let stray = others.flat_map(|(_, values)| values).any(|value| *value != 0.0);
    if stray { f64::INFINITY } else { some(found, width, which, expected) }
}

/// The worst of several errors; a NaN is the worst.
pub(super) fn worst(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) })
}
