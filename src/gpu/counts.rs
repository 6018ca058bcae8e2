//! What a recording asks of any adapter: counts that hold without a GPU.

use std::collections::HashMap;

use super::{Pipeline, Tensor, binding::Access};

/// What dispatches ask of an adapter, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Dispatches.
    pub dispatches: usize,
    /// Dispatches that wait for an earlier one. wgpu keeps an order where either of two writes a buffer that both bind.
    pub barriers: usize,
    /// Rounds of loops one after the other: those of one workgroup, for each time that the workgroups of a dispatch fill all units. A
    /// kernel that does not state its rounds, most of them without a loop, counts as one.
    pub serial_rounds: usize,
    /// Bytes that must at least be read and written.
    pub bytes: f64,
}

/// How often the workgroups of a dispatch fill all units.
pub(super) fn waves(workgroups: [u32; 3], units: usize) -> usize {
    let all: u64 = workgroups.iter().map(|count| u64::from(*count)).product();
    all.div_ceil(units as u64) as usize
}

/// The order that wgpu keeps between dispatches, by what each buffer was last bound for.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: HashMap<wgpu::Buffer, Access>,
}

impl Order {
    /// Whether the next dispatch, of a pipeline on tensors, waits.
    pub fn waits(&mut self, pipeline: &Pipeline, tensors: &[Tensor]) -> bool {
        let bound = || {
            let bound = pipeline.bindings.iter().skip(1).zip(tensors).filter(|(binding, _)| binding.used);
            bound.map(|(binding, tensor)| (binding.access, tensor))
        };
        let waits = bound().any(|(access, tensor)| {
            self.last.get(tensor.buffer()).is_some_and(|before| *before != access || access == Access::Write)
        });
        self.last.extend(bound().map(|(access, tensor)| (tensor.buffer().clone(), access)));
        waits
    }
}
