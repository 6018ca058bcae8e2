//! Sentence pairs that a run is given in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, text::Pair};

/// Training and validation pairs in memory, and their checksum. A run's folder keeps the checksum alone: a resumed run must be
/// given the same pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    #[serde(skip)]
    held: Option<Arc<[Vec<Pair>; 2]>>,
    checksum: String,
}

impl Pairs {
    /// Training pairs and validation pairs.
    pub fn new(train: Vec<Pair>, valid: Vec<Pair>) -> Self {
        let mut sum = 0;
        for pairs in [&train, &valid] {
            add_pairs(&mut sum, pairs);
        }
        Self { held: Some(Arc::new([train, valid])), checksum: format!("{sum:08x}") }
    }

    /// Both, as [`Pairs::new`] was given them.
    ///
    /// # Errors
    /// [`Error::Data`] for what a run's folder keeps of them.
    pub(super) fn get(&self) -> Result<(Vec<Pair>, Vec<Pair>)> {
        let Some(held) = &self.held else {
            let message =
                "were in the memory of the application that trained with them, and are not in the run's folder";
            return Err(Error::data("the pairs", message));
        };
        let [train, valid] = held.as_ref();
        Ok((train.clone(), valid.clone()))
    }
}

/// Adds pairs to a CRC-32C.
pub(super) fn add_pairs(sum: &mut u32, pairs: &[Pair]) {
    add(sum, &(pairs.len() as u64).to_le_bytes());
    for text in pairs.iter().flat_map(|pair| [&pair.source, &pair.target]) {
        // Its length first, so that what one text loses the next cannot make up for.
        add(sum, &(text.len() as u64).to_le_bytes());
        add(sum, text.as_bytes());
    }
}

fn add(sum: &mut u32, bytes: &[u8]) {
    *sum = crc32c::crc32c_append(*sum, bytes);
}

/// By checksum: the pairs themselves may be many.
impl PartialEq for Pairs {
    fn eq(&self, other: &Self) -> bool {
        self.checksum == other.checksum
    }
}

impl Eq for Pairs {}
