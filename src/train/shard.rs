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
    /// For each tensor the spans that are the parts of ranks.
    spans: Vec<Vec<Span>>,
    ranks: usize,
    /// Elements for each rank.
    each: usize,
}

/// A rank's part of a tensor.
#[derive(Clone, Debug)]
struct Span {
    /// The bytes that it has of what is sent,
    place: Range<usize>,
    /// of the tensor,
    own: Range<usize>,
    /// and of all tensors side by side.
    whole: Range<usize>,
}

impl Packing {
    pub fn new(tensors: &[Tensor], ranks: usize) -> Self {
        Self::of(tensors.iter().map(Tensor::elements).collect(), ranks)
    }

    fn of(sizes: Vec<usize>, ranks: usize) -> Self {
        let shard = |rank: usize| Shard { rank, size: ranks };
        let each = sizes.iter().map(|size| shard(0).part(*size).len()).sum();
        let bytes = |range: Range<usize>| range.start * size_of::<f32>()..range.end * size_of::<f32>();
        let mut places: Vec<usize> = (0..ranks).map(|rank| rank * each).collect();
        let mut before = 0;
        let mut spans = Vec::new();
        for size in sizes {
            let parts = places.iter_mut().enumerate().map(|(rank, place)| {
                let (part, begin) = (shard(rank).part(size), *place);
                *place += part.len();
                let whole = bytes(before + part.start..before + part.end);
                Span { place: bytes(begin..*place), own: bytes(part), whole }
            });
            spans.push(parts.collect());
            before += size;
        }
        Self { spans, ranks, each }
    }

    /// The bytes of all tensors, side by side, as they are sent.
    pub fn packed(&self, whole: &[u8]) -> Vec<f32> {
        let mut packed = vec![0.0_f32; self.each * self.ranks];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut packed);
        for span in self.spans.iter().flatten() {
            let (to, from) = (bytes.get_mut(span.place.clone()), whole.get(span.whole.clone()));
            to.unwrap_or_default().copy_from_slice(from.unwrap_or_default());
        }
        packed
    }

    /// What is sent, with the bytes of one rank's parts alone.
    pub fn of_one(&self, rank: usize, own: &[u8]) -> Vec<f32> {
        let mut packed = vec![0.0_f32; self.each * self.ranks];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut packed);
        let begin = rank * self.each * size_of::<f32>();
        bytes.get_mut(begin..begin + own.len()).unwrap_or_default().copy_from_slice(own);
        packed
    }

    /// For each tensor its pieces in what was sent, and the byte at which each begins there.
    pub fn pieces<'a>(&'a self, packed: &'a [f32]) -> impl Iterator<Item = impl Iterator<Item = (usize, &'a [u8])>> {
        let bytes: &[u8] = bytemuck::cast_slice(packed);
        let piece = move |span: &'a Span| Some((span.own.start, bytes.get(span.place.clone())?));
        self.spans.iter().map(move |spans| spans.iter().filter_map(piece))
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
            let packing = Packing::of(vec![1000, 3, 64, 129], ranks);
            let values: Vec<f32> = (1..=1196).map(|value| value as f32).collect();
            let packed = packing.packed(bytemuck::cast_slice(&values));
            let mut found = Vec::new();
            for pieces in packing.pieces(&packed) {
                let begin = found.len();
                for (place, piece) in pieces.filter(|(_, piece)| !piece.is_empty()) {
                    assert_eq!(begin + place, found.len(), "{ranks}");
                    found.extend_from_slice(piece);
                }
            }
            assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&found), values, "{ranks}");
            let own = |rank: usize| bytemuck::cast_slice(&packed[part(packed.len(), ranks, rank)]);
            let parts = (0..ranks).map(|rank| packing.of_one(rank, own(rank)));
            let together = parts.reduce(|all, one| all.iter().zip(one).map(|(all, one)| all + one).collect());
            assert_eq!(together.unwrap(), packed, "{ranks}");
        }
    }
}
