//! A plain text in training: windows that begin at other places in every epoch, so that each token is seen behind contexts of many
//! lengths.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    Result,
    model::Limits,
    text::{BatchSize, Buckets, windows},
};

/// Lengths of batches are multiples of this.
const WIDTH: usize = 2;

/// The tokens of a text, and its windows.
#[derive(Debug)]
pub(super) struct Plain {
    tokens: Vec<u32>,
    /// The most tokens of a window.
    length: usize,
    seed: u64,
    /// The windows of the first epoch, whose shapes serve all of them.
    first: Arc<Buckets>,
}

impl Plain {
    /// The windows of a model with these limits.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for batches that are none.
    pub fn new(tokens: Vec<u32>, limits: Limits, size: BatchSize, seed: u64) -> Result<Self> {
        let length = limits.max_length;
        let first =
            Buckets::new(windows(&tokens, length, 0), size, WIDTH)?.with_specials(limits.specials, limits.padding);
        Ok(Self { tokens, length, seed, first: Arc::new(first) })
    }

    /// The windows of an epoch; in the first one they begin where the text does.
    ///
    /// # Errors
    /// Those of [`Plain::new`].
    pub fn epoch(&self, epoch: u64) -> Result<Arc<Buckets>> {
        if epoch == 0 {
            return Ok(self.first.clone());
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch);
        let shift = rng.random_range(0..self.length);
        Buckets::like(&self.first, windows(&self.tokens, self.length, shift), WIDTH).map(Arc::new)
    }

    /// The number of windows in the first epoch.
    pub fn len(&self) -> usize {
        self.first.examples().len()
    }
}
