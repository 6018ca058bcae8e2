//! Which values are needed, how long each lives, and which of them can share memory.

use super::{Graph, Source, Value};

/// The memory of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not needed.
    Nowhere,
    /// An input, a parameter, a constant, a kept output or a gradient: it has a buffer of its own.
    Own,
    /// A slot shared with values that live at other times.
    Slot(usize),
}

/// The plan of a graph's memory.
#[derive(Debug)]
pub(super) struct Plan {
    /// For each node, whether it runs.
    pub runs: Vec<bool>,
    /// For each value, whether a node that runs reads it, or it is kept.
    pub read: Vec<bool>,
    /// For each value, where it lies.
    pub places: Vec<Place>,
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    /// Bytes of all values in slots, had each its own memory.
    pub unshared: u64,
    /// For a node that works in place on a value that is needed later: the value must be copied first.
    pub copies: Vec<bool>,
}

/// Bytes of a Program's buffers by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryReport {
    /// Inputs, the orders of tokens among them, and constants.
    pub inputs: u64,
    /// Outputs that are kept.
    pub outputs: u64,
    /// Slots shared by intermediate values.
    pub slots: u64,
    /// Bytes that the intermediate values would take without sharing.
    pub unshared: u64,
    /// Mapped buffers that uploads go through.
    pub staging: u64,
    /// Parameters of the dispatches, and the buffer of the step's settings.
    pub settings: u64,
}

impl Graph {
    /// Bytes of a value's memory.
    pub(super) fn bytes(&self, value: Value) -> u64 {
        (self.shape(value).elements() as u64 * self.dtype(value).bytes()).max(1).next_multiple_of(256)
    }

    /// Plans memory so that the values in `kept` survive the run.
    pub(super) fn plan(&self, kept: &[Value]) -> Plan {
        let mut needed = vec![false; self.values.len()];
        kept.iter().for_each(|value| needed[value.0] = true);
        let mut read = needed.clone();
        let mut runs = vec![false; self.nodes.len()];
        let mut last_use = vec![0; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if !node.outputs.iter().any(|output| needed[output.0]) {
                continue;
            }
            runs[index] = true;
            for input in &node.inputs {
                read[input.0] = true;
                if !std::mem::replace(&mut needed[input.0], true) || last_use[input.0] == 0 {
                    last_use[input.0] = index;
                }
            }
            // Outputs that nobody reads are scratch: they live while the node runs.
            for output in &node.outputs {
                needed[output.0] = true;
                last_use[output.0] = last_use[output.0].max(index);
            }
        }
        // An order is made of tokens that are written.
        for (value, info) in self.values.iter().enumerate() {
            if let Source::Order { tokens, .. } = &info.source {
                needed[tokens.0] |= needed[value];
            }
        }
        let own = |value: &Value| self.values[value.0].source != Source::Node || kept.contains(value);
        let mut places: Vec<_> = needed
            .iter()
            .enumerate()
            .map(|(value, needed)| if *needed && own(&Value(value)) { Place::Own } else { Place::Nowhere })
            .collect();
        let mut plan =
            Plan { copies: vec![false; runs.len()], runs, read, places: Vec::new(), slots: Vec::new(), unshared: 0 };
        let mut free: Vec<usize> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| plan.runs[*index]) {
            let taken_over = node.operation.in_place().map(|input| node.inputs[input]);
            let mut moved = None;
            for (position, output) in node.outputs.iter().enumerate() {
                if own(output) {
                    plan.copies[index] |= position == 0 && taken_over.is_some();
                    continue;
                }
                let bytes = self.bytes(*output);
                plan.unshared += bytes;
                if let Some(input) = taken_over.filter(|_| position == 0) {
                    let once = node.inputs.iter().filter(|one| **one == input).count() == 1;
                    if let (Place::Slot(slot), true) = (places[input.0], once && last_use[input.0] == index) {
                        places[output.0] = Place::Slot(slot);
                        moved = Some(input);
                        continue;
                    }
                    plan.copies[index] = true;
                }
                // A decision outlives what is made beside it, and would keep a larger slot from activations all that time.
                let mut none = Vec::new();
                let free = if node.operation.decides() { &mut none } else { &mut free };
                places[output.0] = Place::Slot(take(free, &mut plan.slots, bytes));
            }
            let mut done: Vec<_> = node.inputs.iter().chain(&node.outputs).collect();
            done.sort_unstable();
            done.dedup();
            for value in done {
                if let Place::Slot(slot) = places[value.0]
                    && last_use[value.0] == index
                    && moved != Some(*value)
                {
                    free.push(slot);
                }
            }
        }
        plan.places = places;
        plan
    }
}

/// The smallest free slot that holds `bytes`; else the largest free one, grown; else a new one.
fn take(free: &mut Vec<usize>, slots: &mut Vec<u64>, bytes: u64) -> usize {
    let fitting =
        free.iter().enumerate().filter(|(_, slot)| slots[**slot] >= bytes).min_by_key(|(_, slot)| slots[**slot]);
    let chosen = fitting.or_else(|| free.iter().enumerate().max_by_key(|(_, slot)| slots[**slot])).map(|(at, _)| at);
    match chosen {
        Some(at) => {
            let slot = free.swap_remove(at);
            slots[slot] = slots[slot].max(bytes);
            slot
        }
        None => {
            slots.push(bytes);
            slots.len() - 1
        }
    }
}
