//! Ranks: processes that do one piece of work together, each with a device of its own.

use std::{fmt, ops::Range};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, visible::escaped};

/// Properties of a rank's work, by their names, which must be the same for all.
pub type Told = Vec<(String, String)>;

/// The processes of one piece of work, as one of them sees them. Each of its functions is called by all of them, in the same order
/// and by one thread at a time, and returns when all have called it.
pub trait Ranks: fmt::Debug + Send + Sync {
    /// This process's number among them, from 0. What is written once is written by rank 0.
    fn rank(&self) -> usize;

    /// Their number, N.
    fn size(&self) -> usize;

    /// This process's number among those of its machine, from 0.
    fn local_rank(&self) -> usize;

    /// The bytes of all ranks, in their order; of any lengths.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Sends each rank its [`part`] of `values`, of which every rank has as many. Returns this rank's part as every rank has it, in
    /// their order.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn all_to_all(&self, values: &[f32]) -> Result<Vec<Vec<f32>>>;

    /// Sends this rank's [`part`] of `values` to all, and fills in theirs.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn all_gather(&self, values: &mut [f32]) -> Result<()>;

    /// The sums over all ranks of this rank's [`part`] of `values`, of which every rank has as many: added in the order of ranks, in
    /// f64, and rounded once, so that the same number of ranks gives the same bits.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn reduce_scatter(&self, values: &[f32]) -> Result<Vec<f32>> {
        let mut sums = vec![0.0_f64; part(values.len(), self.size(), self.rank()).len()];
        for piece in self.all_to_all(values)? {
            sums.iter_mut().zip(piece).for_each(|(sum, value)| *sum += f64::from(value));
        }
        Ok(sums.into_iter().map(|sum| sum as f32).collect())
    }

    /// Replaces `values` by their sums over all ranks, of which each makes its part ([`Ranks::reduce_scatter`]), and sends it to all.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn all_reduce(&self, values: &mut [f32]) -> Result<()> {
        let sums = self.reduce_scatter(values)?;
        let own = part(values.len(), self.size(), self.rank());
        values.get_mut(own).unwrap_or_default().copy_from_slice(&sums);
        self.all_gather(values)
    }

    /// The bytes of rank 0.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn broadcast(&self, own: &[u8]) -> Result<Vec<u8>> {
        let sent = if self.rank() == 0 { own } else { &[] };
        Ok(self.all_gather_bytes(sent)?.into_iter().next().unwrap_or_default())
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn barrier(&self) -> Result<()> {
        self.all_gather_bytes(&[]).map(drop)
    }
}

/// The part of a number of elements that is a rank's, of `size` ranks: one after another, the last ones shorter.
pub fn part(elements: usize, size: usize, rank: usize) -> Range<usize> {
    let each = elements.div_ceil(size.max(1));
    let edge = |rank: usize| rank.saturating_mul(each).min(elements);
    edge(rank)..edge(rank.saturating_add(1))
}

/// Whether the piece of work with this number is this process's own, where each is one rank's.
pub fn is_own(ranks: Option<&dyn Ranks>, number: usize) -> bool {
    ranks.is_none_or(|ranks| number % ranks.size().max(1) == ranks.rank())
}

/// The results of all ranks: each brings its own, with their places.
///
/// # Errors
/// [`Error::Rank`] if a rank has ended, or says what is no result.
pub fn complete<T: Serialize + DeserializeOwned>(
    ranks: Option<&dyn Ranks>,
    own: Vec<(usize, T)>,
) -> Result<Vec<(usize, T)>> {
    let Some(ranks) = ranks else { return Ok(own) };
    let mut all = Vec::new();
    for (rank, bytes) in ranks.all_gather_bytes(&words(ranks, &own)?)?.iter().enumerate() {
        all.extend(understood::<Vec<(usize, T)>>(rank, bytes)?);
    }
    Ok(all)
}

/// What rank 0 says; what the others say does not matter.
///
/// # Errors
/// [`Error::Rank`] if a rank has ended, or says what is no such thing.
pub fn of_first<T: Serialize + DeserializeOwned>(ranks: &dyn Ranks, own: &T) -> Result<T> {
    understood(0, &ranks.broadcast(&words(ranks, own)?)?)
}

/// What a rank says to the others, as JSON.
///
/// # Errors
/// [`Error::Rank`] for what cannot be said.
pub(crate) fn words<T: Serialize>(ranks: &dyn Ranks, said: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(said).map_err(|error| Error::Rank { rank: ranks.rank(), message: error.to_string() })
}

/// What a rank has said.
///
/// # Errors
/// [`Error::Rank`] for what is no such thing.
pub(crate) fn understood<T: DeserializeOwned>(rank: usize, said: &[u8]) -> Result<T> {
    let message = |error| format!("says what this version does not understand ({error})");
    serde_json::from_slice(said).map_err(|error| Error::Rank { rank, message: message(error) })
}

/// Compares what all ranks say of themselves, or why they cannot. Without ranks there is nothing to agree on.
///
/// # Errors
/// [`Error::Rank`], the same on all of them, naming the first that differs from rank 0, and in what.
pub fn agree(ranks: Option<&dyn Ranks>, told: impl FnOnce() -> Result<Told>) -> Result<()> {
    let Some(ranks) = ranks else { return Ok(()) };
    let own: Result<Told, String> = told().map_err(|error| error.to_string());
    let mut first: Option<Told> = None;
    for (rank, said) in ranks.all_gather_bytes(&words(ranks, &own)?)?.iter().enumerate() {
        let told = understood::<Result<Told, String>>(rank, said)?.map_err(|message| Error::Rank { rank, message })?;
        match &first {
            None => first = Some(told),
            Some(first) => {
                if let Some(message) = difference(&told, first) {
                    return Err(Error::Rank { rank, message });
                }
            }
        }
    }
    Ok(())
}

/// The first property in which a rank differs from rank 0.
fn difference(told: &Told, first: &Told) -> Option<String> {
    let value = |of: &Told, name: &str| {
        let found = of.iter().find(|(other, _)| other == name);
        found.map_or("not there".to_owned(), |(_, value)| escaped(value))
    };
    let mut names = first.iter().chain(told).map(|(name, _)| name);
    let name = names.find(|name| value(told, name) != value(first, name))?;
    let [own, wanted] = [told, first].map(|of| value(of, name));
    Some(format!("{name} is {own}, and {wanted} for rank 0; start all ranks with the same command, data and build"))
}
