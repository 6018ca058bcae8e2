//! The default model at the sizes for which other systems were measured, without a readout.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::Parameters,
    model::{BatchShape, Kind, ModelOptions, Network, Readout, Regularisation, first_values},
    reference::seq2seq,
    text::{Batch, EOS, PAD, Specials},
    train::{Optimizer, Shard, Trainer},
    validate::widen,
};

/// The seed of parameters and tokens.
const SEED: u64 = 1;

/// Sizes of a model and of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    /// `S` or `M`.
    pub name: &'static str,
    /// Source and target tokens.
    pub vocabularies: [usize; 2],
    /// Size of an embedded word, E.
    pub embedding: usize,
    /// Size of a hidden state and of the alignment layer, H = A.
    pub hidden: usize,
    /// Rows of a batch in training, B.
    pub batch: usize,
    /// Source and target steps, S = T.
    pub steps: usize,
}

impl ModelSize {
    /// Words of letters.
    pub const S: Self = Self { name: "S", vocabularies: [32, 75], embedding: 256, hidden: 256, batch: 128, steps: 12 };
    /// Sentences of words.
    pub const M: Self =
        Self { name: "M", vocabularies: [8000, 8000], embedding: 256, hidden: 512, batch: 64, steps: 25 };

    /// The model; texts are at most as long as the batches.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for sizes that make no model.
    pub fn network(&self) -> Result<Network> {
        let Self { embedding, hidden, steps: max_length, .. } = *self;
        let options = ModelOptions { embedding, hidden, max_length, readout: Readout::None, ..ModelOptions::default() };
        Kind::DEFAULT.make(&options, self.vocabularies)
    }

    /// First values of all parameters, on a device.
    pub(super) fn parameters(&self, gpu: &Gpu) -> Result<Parameters> {
        first_values(gpu, &self.network()?.parameters(), SEED)
    }

    /// The same for the reference.
    pub(super) fn host_parameters(&self) -> Result<seq2seq::Named> {
        let parameters = self.network()?.parameters();
        Ok(parameters.into_iter().map(|one| (one.name.clone(), widen(&one.values(SEED)))).collect())
    }

    /// The shape of a batch.
    pub fn shape(&self) -> BatchShape {
        BatchShape { rows: self.batch, source: self.steps, target: self.steps }
    }

    /// The reference of some rows.
    pub(super) fn reference(&self, rows: usize) -> seq2seq::Seq2Seq {
        seq2seq::Seq2Seq {
            batch: rows,
            source_steps: self.steps,
            target_steps: self.steps,
            source_vocabulary: self.vocabularies[0],
            target_vocabulary: self.vocabularies[1],
            word: self.embedding,
            hidden: self.hidden,
            attention: self.hidden,
        }
    }

    /// Multiplications of the forward of one row.
    pub(super) fn multiplications(&self) -> usize {
        let Self { embedding: e, hidden: h, steps, .. } = *self;
        let encoder = 2 * 3 * h * (e + h) + 2 * h * h;
        let decoder = 3 * h * (e + 2 * h + h) + h * h + self.vocabularies[1] * (3 * h + e);
        steps * (encoder + decoder) + h * h
    }

    /// Sources of full length, each ending in `<eos>`.
    pub(super) fn sources(&self, rows: usize) -> Vec<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let end = self.vocabularies[0] as u32;
        let mut source = || -> Vec<u32> {
            let letters = (1..self.steps).map(|_| random.random_range(4..end));
            letters.chain([EOS]).collect()
        };
        (0..rows).map(|_| source()).collect()
    }

    /// A batch of full lengths.
    pub fn batch(&self) -> Batch {
        let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
        let end = self.vocabularies[1] as u32;
        let mut batch = Batch::filler(self.shape(), Specials::FIRST);
        for (row, source) in self.sources(self.batch).iter().enumerate() {
            let words: Vec<u32> = (1..self.steps).map(|_| random.random_range(4..end)).collect();
            batch.put_source(row, source);
            batch.put_target(row, &words);
        }
        batch
    }

    /// The batch with no target but in some rows: gradients come from these alone.
    pub(super) fn sparse_batch(&self, rows: &[usize]) -> Batch {
        let mut batch = self.batch();
        for (row, targets) in batch.target_out.chunks_mut(self.steps).enumerate() {
            if !rows.contains(&row) {
                targets.fill(PAD);
            }
        }
        batch.target_tokens = rows.len() * self.steps;
        batch
    }

    /// A trainer before its first step, with activations of `precision`; it clips at a norm of 1.
    pub(super) fn trainer(&self, gpu: &Gpu, precision: Dtype) -> Result<Trainer> {
        self.trained_by(gpu, Optimizer { precision, ..Self::optimizer() })
    }

    /// The same of a rank that keeps its part of the moments alone.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn sharded_trainer(&self, gpu: &Gpu, shard: Shard) -> Result<Trainer> {
        self.trained_by(gpu, Optimizer { shard: Some(shard), ..Self::optimizer() })
    }

    fn optimizer() -> Optimizer {
        Optimizer { clip_norm: Some(1.0), ..Optimizer::default() }
    }

    fn trained_by(&self, gpu: &Gpu, optimizer: Optimizer) -> Result<Trainer> {
        Trainer::new(gpu, self.network()?, &self.parameters(gpu)?, optimizer, Regularisation::default())
    }
}
