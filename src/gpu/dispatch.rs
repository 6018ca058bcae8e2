//! Dispatches made ready, and how they are encoded.

use std::sync::Arc;

use super::{Cost, Pipeline, Tensor, texture::Copied};

/// A dispatch with all that it needs made.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) bind_group: wgpu::BindGroup,
    /// What must lie in textures before it runs.
    pub(super) copied: Vec<Copied>,
    /// The tensors bound after the parameters, kept only where they are to be inspected.
    pub(super) tensors: Vec<Tensor>,
    pub(super) workgroups: [u32; 3],
    pub(super) cost: Cost,
    /// Rounds of a workgroup's longest loop, each of which waits for what it loads.
    pub(super) rounds: usize,
    /// Whether an earlier dispatch must end first.
    pub(super) waits: bool,
}

impl Dispatch {
    /// The copies must end before the pass begins.
    fn encode_copies(&self, encoder: &mut wgpu::CommandEncoder) {
        self.copied.iter().for_each(|copied| copied.encode(encoder));
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, sets_pipeline: bool, [x, y, z]: [u32; 3]) {
        if sets_pipeline {
            pass.set_pipeline(&self.pipeline.pipeline);
        }
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Dispatches with all of their workgroups.
pub(super) fn whole(dispatches: &[Dispatch]) -> impl Iterator<Item = (&Dispatch, [u32; 3])> {
    dispatches.iter().map(|dispatch| (dispatch, dispatch.workgroups))
}

/// Encodes dispatches as one compute pass, or as several where tensors are copied between them.
pub(super) fn encode<'a>(
    encoder: &mut wgpu::CommandEncoder,
    label: &str,
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    dispatches: impl IntoIterator<Item = (&'a Dispatch, [u32; 3])>,
) {
    let dispatches: Vec<_> = dispatches.into_iter().collect();
    let runs: Vec<_> = dispatches.chunk_by(|_, (next, _)| next.copied.is_empty()).collect();
    // None at all for a pass that is neither the first nor the last: wgpu refuses empty ones.
    let stamps = |begins: bool, ends: bool| {
        let writes = timestamp_writes.clone()?;
        let begin = writes.beginning_of_pass_write_index.filter(|_| begins);
        let end = writes.end_of_pass_write_index.filter(|_| ends);
        (begin.is_some() || end.is_some()).then_some(wgpu::ComputePassTimestampWrites {
            beginning_of_pass_write_index: begin,
            end_of_pass_write_index: end,
            ..writes
        })
    };
    let copies_first = dispatches.first().is_some_and(|(first, _)| !first.copied.is_empty());
    if let Some(begin) = stamps(copies_first, false) {
        // The time of copies counts: a pass of nothing else begins before them.
        let timestamp_writes = Some(begin);
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes });
    }
    for (index, run) in runs.iter().enumerate() {
        // A warm-up runs no workgroup, which would read them.
        if run.iter().any(|(_, workgroups)| *workgroups != [0, 0, 0]) {
            run[0].0.encode_copies(encoder);
        }
        let timestamp_writes = stamps(index == 0 && !copies_first, index + 1 == runs.len());
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes });
        let mut current: Option<&Arc<Pipeline>> = None;
        for (dispatch, workgroups) in *run {
            let same = current.is_some_and(|pipeline| Arc::ptr_eq(pipeline, &dispatch.pipeline));
            current = Some(&dispatch.pipeline);
            dispatch.encode(&mut pass, !same, *workgroups);
        }
    }
}

/// Encodes dispatches, with the time written into `queries` before the first and after each: in one compute pass, or in several where
/// tensors are copied between them.
pub(super) fn encode_each_timed<'a>(
    encoder: &mut wgpu::CommandEncoder,
    label: &str,
    queries: &wgpu::QuerySet,
    dispatches: impl IntoIterator<Item = &'a Dispatch>,
) {
    let dispatches: Vec<_> = dispatches.into_iter().collect();
    let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None };
    let copies_first = dispatches.first().is_some_and(|first| !first.copied.is_empty());
    if copies_first {
        encoder.begin_compute_pass(&descriptor).write_timestamp(queries, 0);
    }
    let mut stamp = 0;
    for run in dispatches.chunk_by(|_, next| next.copied.is_empty()) {
        run[0].encode_copies(encoder);
        let mut pass = encoder.begin_compute_pass(&descriptor);
        if stamp == 0 && !copies_first {
            pass.write_timestamp(queries, 0);
        }
        for dispatch in run {
            dispatch.encode(&mut pass, true, dispatch.workgroups);
            stamp += 1;
            pass.write_timestamp(queries, stamp);
        }
    }
}
