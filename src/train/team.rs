//! A run's ranks, or the one process that it is.

use std::{borrow::Cow, sync::Arc};

use super::Shard;
use crate::{
    Gpu, Result,
    ranks::{Ranks, of_first},
    text::Batch,
};

/// The ranks of a run, as one of them knows them.
#[derive(Clone, Debug)]
pub struct RankOptions {
    /// The ranks.
    pub ranks: Arc<dyn Ranks>,
    /// Whether each keeps its part of the optimiser's state alone: Rajbhandari et al. 2020, "ZeRO", section 5.1.
    pub shard: bool,
}

/// The ranks of a run, if there are several.
#[derive(Clone, Debug)]
pub(super) struct Team(pub Option<RankOptions>);

impl Team {
    pub fn ranks(&self) -> Option<&dyn Ranks> {
        self.0.as_ref().map(|options| options.ranks.as_ref())
    }

    pub fn all(&self) -> Option<Arc<dyn Ranks>> {
        self.0.as_ref().map(|options| options.ranks.clone())
    }

    /// This rank, where each keeps its part of the optimiser's state alone.
    pub fn shard(&self) -> Option<Shard> {
        let options = self.0.as_ref().filter(|options| options.shard)?;
        Some(Shard { rank: options.ranks.rank(), size: options.ranks.size() })
    }

    pub fn size(&self) -> usize {
        self.ranks().map_or(1, Ranks::size)
    }

    /// Whether this process is the one that writes.
    pub fn writes(&self) -> bool {
        self.ranks().is_none_or(|ranks| ranks.rank() == 0)
    }

    /// This process's share of a batch.
    pub fn share<'a>(&self, batch: &'a Batch) -> Cow<'a, Batch> {
        match self.ranks() {
            Some(ranks) => Cow::Owned(batch.share(ranks.size(), ranks.rank())),
            None => Cow::Borrowed(batch),
        }
    }

    /// Whether it is so for any of them.
    ///
    /// # Errors
    /// [`crate::Error::Rank`] if a rank has ended.
    pub fn any(&self, own: bool) -> Result<bool> {
        let Some(ranks) = self.ranks() else { return Ok(own) };
        Ok(ranks.all_gather_bytes(&[u8::from(own)])?.concat().contains(&1))
    }

    /// What it is for rank 0.
    ///
    /// # Errors
    /// [`crate::Error::Rank`] if a rank has ended.
    pub fn first(&self, own: f64) -> Result<f64> {
        let Some(ranks) = self.ranks() else { return Ok(own) };
        let bytes = ranks.broadcast(&own.to_le_bytes())?;
        Ok(bytes.try_into().map_or(own, f64::from_le_bytes))
    }

    /// The device with the tiles of rank 0: others may round in another way.
    ///
    /// # Errors
    /// [`crate::Error::Rank`] if a rank has ended.
    pub fn with_tiles(&self, gpu: Gpu) -> Result<Gpu> {
        let Some(ranks) = self.ranks() else { return Ok(gpu) };
        Ok(gpu.with_tile_table(of_first(ranks, gpu.tile_table())?))
    }
}
