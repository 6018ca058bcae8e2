//! Training examples under BPE dropout: cut anew in every epoch, in batches of the shapes of the first.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::{
    Result,
    text::{BatchSize, Buckets, Example, Merges, Pair, Tokenizer},
};

/// The training pairs of a run with BPE dropout.
#[derive(Debug)]
pub(super) struct Dropped {
    pairs: Vec<Pair>,
    /// The merges of sources and of targets; none on a side whose tokens are made in another way.
    merges: [Option<Merges>; 2],
    /// Puts its special tokens around a source.
    source: Tokenizer,
    /// The probability that a merge is left out.
    probability: f32,
    seed: u64,
    /// The examples without dropout, which fit in every epoch's shapes.
    plain: Vec<Example>,
    /// Batches that have those shapes.
    shapes: Buckets,
}

impl Dropped {
    /// Of the pairs that `plain` has as tokens, none of which is longer than `longest`. An epoch has `batches` of the shapes
    /// that are best for the first one.
    ///
    /// # Errors
    /// Those of [`Buckets::new`].
    pub fn new(
        (pairs, plain): (Vec<Pair>, Vec<Example>),
        (merges, source): ([Option<Merges>; 2], Tokenizer),
        (probability, seed): (f32, u64),
        batches: BatchSize,
        longest: usize,
    ) -> Result<Self> {
        let shapes = Buckets::new(plain.clone(), batches, 2)?;
        let mut dropped = Self { pairs, merges, source, probability, seed, plain, shapes };
        let longer = |dropped: Vec<u32>, plain: &[u32], most: usize| match (plain.len()..=most).contains(&dropped.len())
        {
            true => dropped,
            false => plain.to_vec(),
        };
        let first = dropped.cut(0).into_iter().zip(&dropped.plain).map(|(cut, plain)| {
            let target = longer(cut.target, &plain.target, longest - 1);
            Example { source: longer(cut.source, &plain.source, longest), target, cut: plain.cut }
        });
        dropped.shapes = Buckets::new(first.collect::<Vec<_>>(), batches, 2)?;
        Ok(dropped)
    }

    /// The examples of an epoch, in batches of shapes that are the same in each.
    ///
    /// # Errors
    /// Those of [`Buckets::like`].
    pub fn epoch(&self, epoch: u64) -> Result<Buckets> {
        let shapes = self.shapes.shapes();
        let fits = |example: &Example| {
            shapes.iter().any(|(source, target)| example.source.len() <= *source && example.target.len() < *target)
        };
        let examples = self.cut(epoch).into_iter().zip(&self.plain);
        let examples = examples.map(|(cut, plain)| if fits(&cut) { cut } else { plain.clone() });
        Buckets::like(&self.shapes, examples.collect::<Vec<_>>(), 2)
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    fn cut(&self, epoch: u64) -> Vec<Example> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        // The order of epochs draws from the first streams of this key.
        random.set_stream(u64::MAX - epoch);
        let [source, target] = &self.merges;
        let mut side = |merges: &Option<Merges>, text: &str| {
            merges.as_ref().map(|merges| merges.encode(text, self.probability, &mut random))
        };
        let cut = |(pair, plain): (&Pair, &Example)| {
            let source = self.source.source_by(&pair.source, |text| side(source, text).ok_or(()));
            Example {
                source: source.unwrap_or_else(|()| plain.source.clone()),
                target: side(target, &pair.target).unwrap_or_else(|| plain.target.clone()),
                cut: plain.cut,
            }
        };
        self.pairs.iter().zip(&self.plain).map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{TokenUnit, encode_pairs};

    #[test]
    fn the_two_texts_of_a_source_stay_apart() {
        let tokenizer =
            Tokenizer::train(&TokenUnit::Bpe(12), ["abab baba"].into_iter(), None).unwrap().begun().unwrap();
        let (pairs, eos) = (vec![Pair::new("abab\tbaba", "ab")], tokenizer.specials().eos);
        let examples = encode_pairs("pairs", &pairs, &tokenizer, &tokenizer, 20).unwrap();
        let merges = ([tokenizer.merges(), None], tokenizer);
        let dropped = Dropped::new((pairs, examples.clone()), merges, (0.5, 1), BatchSize::Sentences(1), 20).unwrap();
        let epochs: Vec<_> = (0..9).map(|epoch| dropped.epoch(epoch).unwrap()).collect();
        let sources = || epochs.iter().map(|epoch| &epoch.examples()[0].source);
        assert!(sources().all(|source| source.iter().filter(|token| **token == eos).count() == 2));
        assert!(sources().any(|source| *source != examples[0].source), "nothing was left out");
    }
}
