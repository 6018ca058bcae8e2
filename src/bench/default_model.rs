//! The default model at the sizes for which other systems were measured, without a readout.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::Parameters,
    model::{Config, Readout, Regularisation, Seq2Seq, initial},
    reference::seq2seq,
    text::{BOS, Batch, EOS, PAD},
    train::{Optimizer, Trainer},
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

    /// The model's configuration; texts are at most as long as the batches.
    pub fn config(&self) -> Config {
        Config {
            embedding: self.embedding,
            hidden: self.hidden,
            attention: self.hidden,
            readout: Readout::None,
            max_length: self.steps,
            ..Config::new(self.vocabularies[0], self.vocabularies[1])
        }
    }

    /// First values of all parameters, on a device.
    pub(super) fn parameters(&self, gpu: &Gpu) -> Result<Parameters> {
        let config = self.config();
        let parameters = Parameters::new(gpu, config.parameters())?;
        for (name, shape) in config.parameters() {
            if let Some(tensor) = parameters.tensor(&name) {
                gpu.write(&tensor, &initial(&config, &name, &shape, SEED))?;
            }
        }
        Ok(parameters)
    }

    /// The same for the reference.
    pub(super) fn host_parameters(&self) -> seq2seq::Named {
        let config = self.config();
        let values = |name: &str, shape| widen(&initial(&config, name, shape, SEED));
        config.parameters().iter().map(|(name, shape)| (name.clone(), values(name, shape))).collect()
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
    pub(super) fn batch(&self) -> Batch {
        let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
        let (rows, steps, end) = (self.batch, self.steps, self.vocabularies[1] as u32);
        let (mut target_in, mut target_out) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let words: Vec<u32> = (1..steps).map(|_| random.random_range(4..end)).collect();
            target_in.extend([&[BOS], &*words].concat());
            target_out.extend([&*words, &[EOS]].concat());
        }
        Batch {
            rows,
            source_steps: steps,
            target_steps: steps,
            source: self.sources(rows).concat(),
            lengths: vec![steps as u32; rows],
            target_in,
            target_out,
            indices: (0..rows).map(Some).collect(),
            target_tokens: rows * steps,
            alignment: Vec::new(),
            aligned_tokens: 0,
        }
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
        let network = Seq2Seq::new(self.config())?;
        let optimizer = Optimizer { clip_norm: Some(1.0), precision, ..Optimizer::default() };
        Trainer::new(gpu, &network, &self.parameters(gpu)?, optimizer, Regularisation::default())
    }
}
