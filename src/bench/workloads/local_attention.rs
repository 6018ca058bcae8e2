//! Alignment weights of whole sources and of windows, at the shape of W5 S.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
};
use crate::{Gpu, Result, kernels::Step, kernels::local_attention::Window, reference::local_attention as reference};

const BATCH: usize = 128;
const STEPS: usize = 12;
/// The paper's D.
const HALF_WIDTH: f32 = 2.0;

pub(super) fn workloads() -> Vec<Workload> {
    let of_passes = |passes: Passes| {
        let key = |kind: &str| format!("local_attention/{kind}_B{BATCH}_T{STEPS}_S{STEPS}/{}", passes.key());
        let predicted = Window::Predicted { half_width: HALF_WIDTH };
        [("global", Window::Global), ("predicted", predicted)]
            .map(|(kind, window)| Workload::new(key(kind), move |gpu| local_attention(gpu, window, passes)))
    };
    Passes::ALL.into_iter().flat_map(of_passes).collect()
}

fn local_attention(gpu: &Gpu, window: Window, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let scores = problem.random(&[BATCH, STEPS, STEPS], 3.0);
    let is_predicted = window != Window::Global;
    // From 0.1 to 0.9, and no centre on the edge of what a window reaches.
    let shares: Vec<f32> = (0..BATCH * STEPS).map(|i| (1.25 + (i % 9) as f32) / STEPS as f32).collect();
    let shares = is_predicted.then(|| problem.floats(&[BATCH, STEPS], &shares));
    let full = vec![STEPS as u32; BATCH];
    let lengths = problem.words(&[BATCH], &full);
    let shares_value = shares.as_ref().map(|shares| shares.value);
    let weights = problem.graph.local_attention(scores.value, lengths, shares_value, STEPS, window)?.weights;
    let upstream = problem.random(&[BATCH, STEPS, STEPS], 1.0);
    let mut outputs = vec![weights];
    if passes == Passes::Both {
        let wanted: Vec<_> = [scores.value].into_iter().chain(shares_value).collect();
        outputs.extend(problem.graph.gradients_from(&[(weights, upstream.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let half_width = f64::from(HALF_WIDTH);
        let window = if is_predicted { reference::Window::Predicted { half_width } } else { reference::Window::Global };
        let reference = reference::LocalAttention { batch: BATCH, queries: STEPS, keys: STEPS, columns: STEPS, window };
        let shares = shares.map(|shares| shares.host).unwrap_or_default();
        let (weights, _) = reference.forward(&scores.host, &shares, &full);
        let (d_scores, d_shares) = reference.backward(&scores.host, &shares, &full, &upstream.host);
        sample::worst(
            outputs.iter().zip([weights, d_scores, d_shares]).map(|(found, expected)| sample::whole(found, &expected)),
        )
    })
}
