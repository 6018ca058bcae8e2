//! Checks of [`crate::kernels::relative_position_bias`].

use super::{Case, KernelChecks, widen};
use crate::{
    Result,
    kernels::relative_position_bias::{PositionBuckets, RelativePositionBias},
    reference::relative_position_bias as reference,
};

/// Numbers are copied.
const FORWARD: f64 = 0.0;
/// Sums of up to 600 gradients.
const BACKWARD: f64 = 2e-6;

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "relative_position_bias",
    forward: |case| run(case, false),
    backward: Some(|case| run(case, true)),
    f32: [FORWARD, BACKWARD],
    f16: None,
}];

fn run(case: &mut Case<'_>, backward: bool) -> Result<f64> {
    let bidirectional = case.coin();
    let side = [2, 3, 4, 7, 16, 30][case.below(6)];
    let count = if bidirectional { 2 * side } else { side };
    let farthest = side / 2 + 1 + case.below(200);
    let (heads, queries, keys) = (case.size(9), case.size(300), case.size(300));
    let buckets = PositionBuckets { count, bidirectional, farthest };
    let operation = RelativePositionBias { buckets, heads, queries, keys };
    let reference = reference::RelativePositionBias { buckets: count, bidirectional, farthest, heads, queries, keys };
    let (of_table, of_bias) = ([count, heads], [heads, queries + keys - 1]);
    let (from, to) = if backward { (of_bias, of_table) } else { (of_table, of_bias) };
    let values = case.values(from.iter().product(), 1.0);
    let (from, to) = (case.upload(from, &values)?, case.poisoned(to)?);
    case.run(|recorder| match backward {
        true => operation.record_backward(recorder, &from, &to),
        false => operation.record(recorder, &from, &to),
    })?;
    let values = widen(&values);
    let wanted = if backward { reference.backward(&values) } else { reference.forward(&values) };
    // Without cancellation a sum is as large as the square root of its length.
    case.error(&to, &wanted, if backward { ((queries + keys) as f64).sqrt() } else { 0.0 })
}
