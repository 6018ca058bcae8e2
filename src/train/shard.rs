//! The part of each tensor that is a rank's, and how the parts lie in what ranks send one another.

use std::ops::Range;

use crate::{
    Result, Tensor,
    gpu::{Dtype, ELEMENT},
    ranks::part,
};

/// Elements at whose multiples a part begins, so that kernels can be given it as a tensor: 256 bytes.
const UNIT: usize = 64;

/// A rank's place among those that share the elements of every tensor: its part of their gradients' sums is the one that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub rank: usize,
    /// Their number.
    pub size: usize,
}

impl Shard {
    /// Its part of a tensor of so many elements.
    pub fn part(self, elements: usize) -> Range<usize> {
        let units = part(elements.div_ceil(UNIT), self.size, self.rank);
        let edge = |unit: usize| unit.saturating_mul(UNIT).min(elements);
        edge(units.start)..edge(units.end)
    }

    /// Its part of a tensor, unless that is nothing.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a window that ends inside another tensor.
    pub(super) fn of(self, tensor: &Tensor) -> Result<Option<Tensor>> {
        let part = self.part(tensor.elements());
        let window = || tensor.part(part.start as u64 * ELEMENT, [part.len()], Dtype::F32);
        if part.is_empty() { Ok(None) } else { window().map(Some) }
    }
}

/// The elements of some tensors as ranks send them: first the parts of rank 0, one tensor's behind another's, then those of rank 1 and
/// so on; those of each are filled up to as many as rank 0 has, the most.
pub(super) struct Packing {
    /// Elements of the tensors.
    sizes: Vec<usize>,
    ranks: usize,
    /// Elements for each rank.
    each: usize,
}

impl Packing {
    pub fn new(tensors: &[Tensor], ranks: usize) -> Self {
        let sizes: Vec<_> = tensors.iter().map(Tensor::elements).collect();
        let first = Shard { rank: 0, size: ranks };
        Self { each: sizes.iter().map(|size| first.part(*size).len()).sum(), sizes, ranks }
    }

    /// All elements, in the order of the tensors, as they are sent.
    pub fn packed(&self, values: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; self.each * self.ranks];
        for (place, part) in self.spans() {
            let (to, from) = (packed.get_mut(place), values.get(part));
            to.unwrap_or_default().copy_from_slice(from.unwrap_or_default());
        }
        packed
    }

    /// All elements, in the order of the tensors, from what was sent.
    pub fn unpacked(&self, packed: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.sizes.iter().sum()];
        for (place, part) in self.spans() {
            let (to, from) = (values.get_mut(part), packed.get(place));
            to.unwrap_or_default().copy_from_slice(from.unwrap_or_default());
        }
        values
    }

    /// What is sent, with the parts of one rank alone.
    pub fn of_one(&self, rank: usize, own: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; self.each * self.ranks];
        packed.iter_mut().skip(rank * self.each).zip(own).for_each(|(place, value)| *place = *value);
        packed
    }

    /// Where each part lies in what is sent, and where among all elements.
    fn spans(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        (0..self.ranks).flat_map(move |rank| {
            let shard = Shard { rank, size: self.ranks };
            let (mut place, mut from) = (rank * self.each, 0);
            self.sizes.iter().map(move |size| {
                let part = shard.part(*size);
                let span = (place..place + part.len(), from + part.start..from + part.end);
                place += part.len();
                from += size;
                span
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_element_once_and_begin_where_tensors_may() {
        for (elements, size) in [(0, 3), (1, 3), (64, 2), (65, 2), (1000, 1), (1000, 4), (4096, 3), (129, 64)] {
            let parts: Vec<_> = (0..size).map(|rank| Shard { rank, size }.part(elements)).collect();
            assert!(parts.iter().cloned().flatten().eq(0..elements), "{elements}, {size}");
            assert!(parts.iter().all(|part| part.is_empty() || part.start % UNIT == 0), "{elements}, {size}");
            assert!(parts.iter().all(|part| part.len() <= parts[0].len()), "{elements}, {size}");
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        for ranks in [1, 2, 3, 7] {
            let sizes = vec![1000, 3, 64, 129];
            let first = Shard { rank: 0, size: ranks };
            let packing = Packing { each: sizes.iter().map(|size| first.part(*size).len()).sum(), sizes, ranks };
            let values: Vec<f32> = (1..=1196).map(|value| value as f32).collect();
            let packed = packing.packed(&values);
            assert_eq!(packing.unpacked(&packed), values, "{ranks}");
            let parts = (0..ranks).map(|rank| packing.of_one(rank, &packed[part(packed.len(), ranks, rank)]));
            let together = parts.reduce(|all, one| all.iter().zip(one).map(|(all, one)| all + one).collect());
            assert_eq!(together.unwrap(), packed, "{ranks}");
        }
    }
}
