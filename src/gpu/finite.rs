//! The search for the first infinite or NaN value: the tensors of a dispatch are read before and after it.

use super::{Dtype, Gpu, Pipeline, Tensor, binding::Access};
use crate::Result;

/// The float tensors bound to a dispatch, with their values before it.
pub(super) struct Watch<'a> {
    seen: Vec<Seen<'a>>,
}

struct Seen<'a> {
    name: &'a str,
    written: bool,
    tensor: &'a Tensor,
    before: Vec<f32>,
}

impl<'a> Watch<'a> {
    /// Reads `tensors`, which are bound after the parameters.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] or [`crate::Error::DeviceLost`] if the device fails.
    pub(super) fn before(gpu: &Gpu, pipeline: &'a Pipeline, tensors: &'a [Tensor]) -> Result<Self> {
        let bound = pipeline.bindings.iter().skip(1).zip(tensors);
        let floats = bound.filter(|(_, tensor)| tensor.dtype() != Dtype::U32);
        let seen = floats.map(|(binding, tensor)| {
            let written = binding.access == Access::Write;
            Ok(Seen { name: &binding.name, written, tensor, before: gpu.read_floats(tensor)? })
        });
        Ok(Self { seen: seen.collect::<Result<_>>()? })
    }

    /// The first value that the dispatch has made infinite or NaN, and what it may have made it from.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] or [`crate::Error::DeviceLost`] if the device fails.
    pub(super) fn after(&self, gpu: &Gpu) -> Result<Option<[String; 2]>> {
        for Seen { name, tensor, before, .. } in self.seen.iter().filter(|seen| seen.written) {
            let after = gpu.read_floats(tensor)?;
            // A slot may hold anything where nothing has been written yet, and keeps it.
            let became = |(old, new): (&f32, &f32)| !new.is_finite() && old.to_bits() != new.to_bits();
            if let Some(at) = before.iter().zip(&after).position(became) {
                let place = place(tensor.shape().dims(), at);
                let found = format!("{} to `{name}` {} at {place:?}", after[at], tensor.shape());
                return Ok(Some([found, self.cause()]));
            }
        }
        Ok(None)
    }

    fn cause(&self) -> String {
        let held = |seen: &&Seen<'_>| !seen.written && seen.before.iter().any(|value| !value.is_finite());
        let names: Vec<_> = self.seen.iter().filter(held).map(|seen| format!("`{}`", seen.name)).collect();
        match names.len() {
            0 => "its inputs were finite".into(),
            _ => format!("there were such values in {}", names.join(", ")),
        }
    }
}

/// The indices of an element.
fn place(dims: &[usize], mut at: usize) -> Vec<usize> {
    let mut place: Vec<_> = dims
        .iter()
        .rev()
        .map(|extent| {
            let index = at % extent;
            at /= extent;
            index
        })
        .collect();
    place.reverse();
    place
}
