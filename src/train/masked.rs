//! A plain text for an encoder in training: in every epoch its windows begin at other places, and other tokens are masked.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    Result,
    model::Limits,
    text::{BatchSize, Buckets, Example, Masking},
};

/// Lengths of batches are multiples of this.
const WIDTH: usize = 2;

/// The tokens of a text, and what is drawn from where some are masked.
#[derive(Debug)]
pub(super) struct Masked {
    tokens: Vec<u32>,
    masking: Masking,
    /// The most tokens of a window, those around it counted.
    length: usize,
    seed: u64,
    /// The windows of the first epoch, whose shapes serve all of them.
    first: Arc<Buckets>,
}

impl Masked {
    /// The windows for a model with these limits.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for batches that are none.
    pub fn new(tokens: Vec<u32>, masking: Masking, limits: Limits, size: BatchSize, seed: u64) -> Result<Self> {
        let length = limits.max_length;
        let windows = drawn(&masking, &tokens, (length, 0), (seed, 0));
        let first = Buckets::new(windows, size, WIDTH)?.with_specials(limits.specials, limits.padding);
        Ok(Self { tokens, masking, length, seed, first: Arc::new(first) })
    }

    /// The windows of an epoch; in the first one they begin where the text does.
    ///
    /// # Errors
    /// Those of [`Masked::new`].
    pub fn epoch(&self, epoch: u64) -> Result<Arc<Buckets>> {
        if epoch == 0 {
            return Ok(self.first.clone());
        }
        let mut random = random(self.seed, epoch);
        let shift = random.random_range(0..self.length);
        let windows = self.masking.windows(&self.tokens, self.length, shift, &mut random);
        Buckets::like(&self.first, windows, WIDTH).map(Arc::new)
    }

    /// The number of windows in the first epoch.
    pub fn len(&self) -> usize {
        self.first.examples().len()
    }
}

/// The windows of up to `length` tokens that are drawn in an epoch.
pub(super) fn drawn(
    masking: &Masking,
    tokens: &[u32],
    (length, shift): (usize, usize),
    (seed, epoch): (u64, u64),
) -> Vec<Example> {
    masking.windows(tokens, length, shift, &mut random(seed, epoch))
}

/// Random numbers of an epoch: the order of epochs draws from the first streams of this key.
fn random(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::MAX - epoch);
    random
}
