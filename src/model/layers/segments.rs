//! A text segment by segment, each of which sees what those before it have left, but passes no gradient to them (Dai et al. 2019,
//! section 3.2).

use super::Layers;
use crate::{Result, graph::Value};

/// What a segment leaves.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The top layer's states, `[B, T, D]`.
    pub states: Value,
    /// What each layer remembers for the next segment, `[B, M, D]`: constants.
    pub memory: Vec<Value>,
}

/// `first` `[B, T, D]` and behind it `second` `[B, U, D]`: `[B, T + U, D]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn joined(layers: &mut Layers, first: Value, second: Value) -> Result<Value> {
    let graph = &mut layers.graph;
    let (mut flat, mut steps, mut sizes) = (Vec::new(), 0, [0; 2]);
    for part in [first, second] {
        if let [batch, more, size] = *graph.dims(part) {
            steps += more;
            sizes = [batch, size];
            flat.push(graph.reshape(part, [batch, more * size])?);
        }
    }
    let whole = graph.concatenate(&flat)?;
    graph.reshape(whole, [sizes[0], steps, sizes[1]])
}

/// The last `count` steps, or all that there are, of `x` `[B, T, D]`, as constants.
///
/// # Errors
/// [`crate::Error::Shape`], also for a count of 0.
pub fn remembered(layers: &mut Layers, x: Value, count: usize) -> Result<Value> {
    let steps = layers.graph.dims(x).get(1).copied().unwrap_or(0);
    let last = layers.graph.slice(x, 1, steps - count.min(steps)..steps)?;
    layers.graph.stop_gradient(last)
}

/// The states `[B, T, D]` of embedded words `[B, T, D]`, in as many segments of `steps` as it takes. `segment` makes one of its words and
/// of what the layers remember, which is nothing at first.
///
/// # Errors
/// [`crate::Error::Shape`], and those of `segment`.
pub fn in_segments(
    layers: &mut Layers,
    words: Value,
    steps: usize,
    mut segment: impl FnMut(&mut Layers, Value, &[Value]) -> Result<Segment>,
) -> Result<Value> {
    let all = layers.graph.dims(words).get(1).copied().unwrap_or(0);
    let (mut memory, mut states) = (Vec::new(), None);
    for start in (0..all).step_by(steps) {
        let part = layers.graph.slice(words, 1, start..(start + steps).min(all))?;
        let made = segment(layers, part, &memory)?;
        memory = made.memory;
        states = Some(match states {
            Some(before) => joined(layers, before, made.states)?,
            None => made.states,
        });
    }
    Ok(states.unwrap_or(words))
}
