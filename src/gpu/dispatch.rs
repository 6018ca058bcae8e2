//! Dispatches made ready, and how they are encoded.

use std::sync::Arc;

use super::{Cost, Pipeline, Tensor};

/// A dispatch with all that it needs made.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) bind_group: wgpu::BindGroup,
    /// The tensors bound after the parameters, kept only where they are to be inspected.
    pub(super) tensors: Vec<Tensor>,
    pub(super) workgroups: [u32; 3],
    pub(super) cost: Cost,
    /// Rounds of a workgroup's longest loop, each of which waits for what it loads.
    pub(super) rounds: usize,
    /// Whether an earlier dispatch must end first.
    pub(super) waits: bool,
}

/// Dispatches with all of their workgroups.
pub(super) fn whole(dispatches: &[Dispatch]) -> impl Iterator<Item = (&Dispatch, [u32; 3])> {
    dispatches.iter().map(|dispatch| (dispatch, dispatch.workgroups))
}

/// Encodes dispatches as one compute pass.
pub(super) fn encode<'a>(
    encoder: &mut wgpu::CommandEncoder,
    label: &str,
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    dispatches: impl IntoIterator<Item = (&'a Dispatch, [u32; 3])>,
) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes });
    let mut current: Option<&Arc<Pipeline>> = None;
    for (dispatch, [x, y, z]) in dispatches {
        if !current.is_some_and(|pipeline| Arc::ptr_eq(pipeline, &dispatch.pipeline)) {
            pass.set_pipeline(&dispatch.pipeline.pipeline);
            current = Some(&dispatch.pipeline);
        }
        pass.set_bind_group(0, &dispatch.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Encodes dispatches as one compute pass that writes the time into `queries` before each and after the last.
pub(super) fn encode_each_timed<'a>(
    encoder: &mut wgpu::CommandEncoder,
    label: &str,
    queries: &wgpu::QuerySet,
    dispatches: impl IntoIterator<Item = &'a Dispatch>,
) {
    let mut pass =
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None });
    pass.write_timestamp(queries, 0);
    for (dispatch, after) in dispatches.into_iter().zip(1..) {
        pass.set_pipeline(&dispatch.pipeline.pipeline);
        pass.set_bind_group(0, &dispatch.bind_group, &[]);
        let [x, y, z] = dispatch.workgroups;
        pass.dispatch_workgroups(x, y, z);
        pass.write_timestamp(queries, after);
    }
}
