//! Ranks over MPI, which clusters run: the only module that knows of it. Feature `mpi`.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use mpi::{
    Count, Threading,
    datatype::{Partition, PartitionMut},
    environment::Universe,
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives as _},
};

use crate::{
    Error, Result,
    ranks::{Ranks, part},
};

/// MPI from its start to its end. In a process that ends otherwise MPI must not: it would wait for the others, and they for this one.
static UNIVERSE: Mutex<Option<Universe>> = Mutex::new(None);

/// The processes that `mpirun`, `srun` or the like has started together, as one of them.
pub struct Mpi {
    rank: usize,
    size: usize,
    local_rank: usize,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

impl Mpi {
    /// Starts MPI, once in a process. A process that was started alone is the only rank.
    ///
    /// # Errors
    /// [`Error::Data`] if it was started before, or its library cannot be used from several threads in turn.
    pub fn start() -> Result<Self> {
        let failed = |message: &str| Error::data("MPI", message);
        let (universe, threads) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| failed("has been started before in this process"))?;
        let world = universe.world();
        let local_rank = world.split_shared(world.rank()).rank();
        let [rank, size, local_rank] = [world.rank(), world.size(), local_rank].map(|number| number as usize);
        *UNIVERSE.lock().unwrap_or_else(PoisonError::into_inner) = Some(universe);
        if threads < Threading::Serialized {
            return Err(failed("its library allows calls from one thread alone; use one built with threads"));
        }
        Ok(Self { rank, size, local_rank })
    }

    /// Ends MPI where all ranks end well, and waits for them.
    pub fn finish() {
        drop(UNIVERSE.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Ends this process and all other ranks at once.
    pub fn abort(code: u8) -> ! {
        SimpleCommunicator::world().abort(code.into())
    }

    fn world(&self) -> SimpleCommunicator {
        SimpleCommunicator::world()
    }

    /// Lengths of pieces side by side, and where each of them begins.
    fn layout(&self, lengths: impl Iterator<Item = usize>) -> Result<(Vec<Count>, Vec<Count>)> {
        let (mut counts, mut places, mut place) = (Vec::new(), Vec::new(), 0_usize);
        let fits = |number: usize| {
            let message = format!("a message of {number} elements; MPI counts to {}", Count::MAX);
            Count::try_from(number).map_err(|_| Error::Rank { rank: self.rank, message })
        };
        for length in lengths {
            counts.push(fits(length)?);
            places.push(fits(place)?);
            place += length;
        }
        Ok((counts, places))
    }

    /// The parts of so many elements, as MPI counts them.
    fn parts(&self, elements: usize) -> Result<(Vec<Count>, Vec<Count>)> {
        self.layout((0..self.size).map(|rank| part(elements, self.size, rank).len()))
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut lengths = vec![0_u64; self.size];
        self.world().all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let lengths: Vec<_> = lengths.into_iter().map(|length| length as usize).collect();
        let (counts, places) = self.layout(lengths.iter().copied())?;
        // One byte more: where nothing is allocated, a slice may lie at the address by which MPI knows another request.
        let sent = [own, &[0]].concat();
        let mut all = vec![0_u8; lengths.iter().sum::<usize>() + 1];
        let received = &mut PartitionMut::new(&mut all[..], counts, places);
        self.world().all_gather_varcount_into(sent.split_at(own.len()).0, received);
        let mut rest = all.as_slice();
        let pieces = lengths.into_iter().map(|length| {
            let (piece, behind) = rest.split_at_checked(length).unwrap_or_default();
            rest = behind;
            piece.to_vec()
        });
        Ok(pieces.collect())
    }

    fn all_to_all(&self, values: &[f32]) -> Result<Vec<Vec<f32>>> {
        let (counts, places) = self.parts(values.len())?;
        let own = part(values.len(), self.size, self.rank).len();
        let (own_counts, own_places) = self.layout((0..self.size).map(|_| own))?;
        let mut received = vec![0.0_f32; own * self.size];
        self.world().all_to_all_varcount_into(
            &Partition::new(values, counts, places),
            &mut PartitionMut::new(&mut received[..], own_counts, own_places),
        );
        let piece = |rank: usize| received.get(rank * own..(rank + 1) * own).unwrap_or_default().to_vec();
        Ok((0..self.size).map(piece).collect())
    }

    fn all_gather(&self, values: &mut [f32]) -> Result<()> {
        let (counts, places) = self.parts(values.len())?;
        let own = values.get(part(values.len(), self.size, self.rank)).unwrap_or_default().to_vec();
        self.world().all_gather_varcount_into(&own[..], &mut PartitionMut::new(values, counts, places));
        Ok(())
    }
}
