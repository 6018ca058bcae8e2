//! Ranks in memory: threads of this process, and channels between them.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use softalign::{
    Error, Result,
    ranks::{Ranks, part},
};

/// One of several threads.
#[derive(Debug)]
pub struct Thread {
    rank: usize,
    /// To each of the others and itself.
    to: Vec<Sender<Vec<u8>>>,
    /// From each of them.
    from: Mutex<Vec<Receiver<Vec<u8>>>>,
}

impl Thread {
    /// So many of them.
    pub fn all(size: usize) -> Vec<Arc<dyn Ranks>> {
        let channels = (0..size).map(|_| (0..size).map(|_| channel()).unzip::<_, _, Vec<_>, Vec<_>>());
        let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
        let ranks = receivers.into_iter().enumerate().map(|(rank, from)| {
            let to = senders.iter().map(|to: &Vec<Sender<_>>| to[rank].clone()).collect();
            Arc::new(Self { rank, to, from: Mutex::new(from) }) as Arc<dyn Ranks>
        });
        ranks.collect()
    }

    fn exchange(&self, bytes: impl Fn(usize) -> Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let ended = |rank: usize| Error::Rank { rank, message: "has ended".into() };
        for (rank, to) in self.to.iter().enumerate() {
            to.send(bytes(rank)).map_err(|_| ended(rank))?;
        }
        let from = self.from.lock().unwrap();
        from.iter().enumerate().map(|(rank, from)| from.recv().map_err(|_| ended(rank))).collect()
    }
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn local_rank(&self) -> usize {
        self.rank
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(|_| own.to_vec())
    }

    fn all_to_all(&self, values: &[f32]) -> Result<Vec<Vec<f32>>> {
        let all = self.exchange(|to| bytemuck::cast_slice(&values[part(values.len(), self.size(), to)]).to_vec())?;
        Ok(all.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
    }

    fn all_gather(&self, values: &mut [f32]) -> Result<()> {
        let own = &values[part(values.len(), self.size(), self.rank)];
        let all = self.all_gather_bytes(bytemuck::cast_slice(own))?;
        values.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(&all.concat()));
        Ok(())
    }
}

/// What each of several ranks comes to.
pub fn together<T: Send>(size: usize, work: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = Thread::all(size).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
