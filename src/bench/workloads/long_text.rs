//! Attention of a decoder to long texts, one head, forward: to all of the text, within a window, within buckets of a hash,
//! and in segments with a memory of as many steps. All but the first cost what grows with T, not with its square.

use super::{
    super::Workload, Passes, dot_product_attention, lsh_attention, relative_attention, sliding_window_attention,
};
use crate::gpu::Dtype;

/// T.
const STEPS: [usize; 4] = [512, 2_048, 8_192, 16_384];
/// Steps of a segment.
const SEGMENT: usize = 256;
/// Orders by a hash.
const ROUNDS: usize = 4;

pub(super) fn workloads() -> Vec<Workload> {
    let of_steps = |steps: usize| {
        let (size, window) = (relative_attention::SIZE, sliding_window_attention::WINDOW);
        let key = |kind: &str| format!("long_text/T{steps}_D{size}/{kind}/{}", Passes::Forward.key());
        [
            Workload::new(key("full"), move |gpu| {
                dot_product_attention::attention(gpu, Dtype::F32, [1, 1, steps, steps, size], Passes::Forward)
            }),
            Workload::new(key(&format!("window_{window}")), move |gpu| {
                sliding_window_attention::attention(gpu, [1, steps], Passes::Forward)
            }),
            Workload::new(key(&format!("lsh_{ROUNDS}")), move |gpu| {
                lsh_attention::attention(gpu, [1, steps], ROUNDS, Passes::Forward)
            }),
            Workload::new(key(&format!("segment_{SEGMENT}")), move |gpu| {
                relative_attention::attention(gpu, [steps / SEGMENT, 1, SEGMENT], Passes::Forward)
            }),
        ]
    };
    STEPS.into_iter().flat_map(of_steps).collect()
}
