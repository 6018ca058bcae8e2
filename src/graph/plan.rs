//! Which values are needed, how long each lives, and which of them can share memory.

use std::ops::Range;

use super::{Graph, InPlace, Node, Part, Source, Value};
use crate::gpu::{START, WIDEST};

/// The memory of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not needed.
    Nowhere,
    /// An input, a parameter, a constant, a kept output or a gradient: it has a buffer of its own.
    Own,
    /// The bytes from `at` on of a slot, which is shared with values that live at other times, lie beside it or are the same elements.
    Slot { slot: usize, at: u64 },
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
    /// For a node of which an output begins as a value that it does not share the memory of: the value must be copied first.
    pub copies: Vec<bool>,
}

/// Bytes of a Program's buffers by class. Copies in textures ([`Tiles::textures`](crate::gpu::Tiles::textures)), which all Programs of a
/// device share, are none of them.
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
        let places = needed
            .iter()
            .enumerate()
            .map(|(value, needed)| if *needed && own(&Value(value)) { Place::Own } else { Place::Nowhere })
            .collect();
        let mut slots =
            Slots { graph: self, last_use, places, bytes: Vec::new(), tenants: Vec::new(), free: Vec::new() };
        let (mut copies, mut unshared) = (vec![false; runs.len()], 0);
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| runs[*index]) {
            let parts = node.operation.parts();
            let is_part = |output: &usize| parts.iter().any(|part| part.output == *output);
            for (number, output) in node.outputs.iter().enumerate().filter(|(number, _)| !is_part(number)) {
                let in_place = node.operation.in_place().filter(|in_place| in_place.output == number);
                if own(output) {
                    copies[index] |= in_place.is_some();
                    continue;
                }
                unshared += self.bytes(*output);
                if !in_place.is_some_and(|in_place| slots.take_over(node, index, in_place)) {
                    copies[index] |= in_place.is_some();
                    slots.take(*output, node.operation.decides());
                }
            }
            for part in parts {
                let output = node.outputs[part.output];
                if !own(&output) && !slots.take_part(node, part) {
                    unshared += self.bytes(output);
                    slots.take(output, false);
                }
            }
            slots.leave(node, index);
        }
        let Slots { places, bytes: slots, .. } = slots;
        Plan { runs, read, places, slots, unshared, copies }
    }
}

/// Slots, and the values that lie in them.
struct Slots<'a> {
    graph: &'a Graph,
    /// For each value, the last node that reads or makes it.
    last_use: Vec<usize>,
    places: Vec<Place>,
    /// Bytes of each slot.
    bytes: Vec<u64>,
    /// The values that have lain in a slot since it was free.
    tenants: Vec<Vec<Value>>,
    free: Vec<usize>,
}

impl Slots<'_> {
    /// The bytes of a slot that a value's elements take.
    fn range(&self, value: Value) -> Option<(usize, Range<u64>)> {
        match self.places[value.0] {
            Place::Slot { slot, at } => Some((slot, at..at + self.elements(value))),
            Place::Nowhere | Place::Own => None,
        }
    }

    /// Bytes of a value's elements alone.
    fn elements(&self, value: Value) -> u64 {
        self.graph.shape(value).elements() as u64 * self.graph.dtype(value).bytes()
    }

    fn place(&mut self, value: Value, slot: usize, at: u64) {
        self.places[value.0] = Place::Slot { slot, at };
        self.bytes[slot] = self.bytes[slot].max(at + self.graph.bytes(value));
        self.tenants[slot].push(value);
    }

    /// Places a value in the smallest free slot that holds it; else in the largest free one, grown; else in a new one, as a decision
    /// always is: it outlives what is made beside it, and would keep a larger slot from activations all that time.
    fn take(&mut self, value: Value, decision: bool) {
        let wanted = self.graph.bytes(value);
        let free = self.free.iter().enumerate().filter(|_| !decision);
        let fitting = free.clone().filter(|(_, slot)| self.bytes[**slot] >= wanted);
        let fitting = fitting.min_by_key(|(_, slot)| self.bytes[**slot]);
        let chosen = fitting.or_else(|| free.max_by_key(|(_, slot)| self.bytes[**slot])).map(|(at, _)| at);
        let slot = match chosen {
            Some(at) => self.free.swap_remove(at),
            None => {
                self.bytes.push(0);
                self.tenants.push(Vec::new());
                self.bytes.len() - 1
            }
        };
        self.place(value, slot, 0);
    }

    /// Places the output of a node that begins as an input over that input, if nothing that is needed is overwritten; an input that begins
    /// later in it moves there with all that lies in its slot.
    fn take_over(&mut self, node: &Node, index: usize, in_place: InPlace) -> bool {
        let (input, output) = (node.inputs[in_place.input], node.outputs[in_place.output]);
        let offset = in_place.offset as u64 * self.graph.dtype(output).bytes();
        let Some((slot, of_input)) = self.range(input).filter(|_| offset.is_multiple_of(START)) else { return false };
        // No dispatch can read and write one buffer by two names.
        let in_slot = |value: &&Value| self.range(**value).is_some_and(|(other, _)| other == slot);
        if node.inputs.iter().filter(in_slot).count() > 1 {
            return false;
        }
        let shift = offset.saturating_sub(of_input.start);
        let start = of_input.start + shift - offset;
        let end = start + self.elements(output).next_multiple_of(WIDEST);
        // What a kernel that keeps the input writes beside it, whole words of it.
        let written = [start..of_input.start + shift, of_input.end + shift..end];
        let stays = |value: &Value| {
            let range = self.range(*value).map(|(_, range)| range.start + shift..range.end + shift).unwrap_or_default();
            in_place.keeps && written.iter().all(|part| part.start.max(range.start) >= part.end.min(range.end))
        };
        let free =
            |value: &&Value| self.last_use[value.0] < index || (**value == input && self.last_use[value.0] == index);
        if !self.tenants[slot].iter().filter(|value| !free(value)).all(stays) {
            return false;
        }
        for value in std::mem::take(&mut self.tenants[slot]) {
            if let Some((_, range)) = self.range(value) {
                self.place(value, slot, range.start + shift);
            }
        }
        self.place(output, slot, start);
        true
    }

    /// Places an output in the one that it is a part of, if it can begin there.
    fn take_part(&mut self, node: &Node, part: Part) -> bool {
        let (output, whole) = (node.outputs[part.output], node.outputs[part.of]);
        let offset = part.offset as u64 * self.graph.dtype(whole).bytes();
        let Some((slot, range)) = self.range(whole).filter(|_| offset.is_multiple_of(START)) else { return false };
        self.place(output, slot, range.start + offset);
        true
    }

    /// Frees the slots of which no value is needed after a node.
    fn leave(&mut self, node: &Node, index: usize) {
        let mut values: Vec<_> = node.inputs.iter().chain(&node.outputs).collect();
        values.sort_unstable();
        for value in values {
            let Some((slot, _)) = self.range(*value) else { continue };
            let done = self.tenants[slot].iter().all(|tenant| self.last_use[tenant.0] <= index);
            if done && !self.tenants[slot].is_empty() {
                self.tenants[slot].clear();
                self.free.push(slot);
            }
        }
    }
}
