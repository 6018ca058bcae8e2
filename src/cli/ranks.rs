//! A command that several processes run together, started by `mpirun`, `srun` or the like. Feature `mpi`.

use std::{io::ErrorKind, process::ExitCode, sync::Arc, thread, time::Duration};

use softalign::{Error, ranks::Ranks as _, train::Mpi};

use super::{Command, EXIT_UNUSABLE, Global, failed, log, output};

/// The time that rank 0 has to say what is wrong, where the same is wrong with all.
const RANK_0_FIRST: Duration = Duration::from_secs(1);

/// Runs a command as one of several ranks, or alone where there are no others.
pub fn run(command: Command, global: Global) -> ExitCode {
    let ranks = match Mpi::start() {
        Ok(ranks) => ranks,
        Err(error) => return failed(error),
    };
    let (rank, shared) = (ranks.rank(), ranks.size() > 1);
    let global = Global { ranks: shared.then(|| Arc::new(ranks) as _), ..global };
    log::start(&global);
    output::be_silent(rank > 0);
    let code = match command.run(&global) {
        Ok(code) => code,
        Err(error) if !shared || matches!(error, Error::Rank { .. }) => failed(error),
        Err(error) => end_all(rank, &error),
    };
    Mpi::finish();
    code
}

/// Says what is wrong with this rank, and ends the others, which would wait for it.
fn end_all(rank: usize, error: &Error) -> ! {
    // The reader of the output has closed it: no failure.
    if matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe) {
        Mpi::abort(0)
    }
    if rank > 0 {
        thread::sleep(RANK_0_FIRST);
    }
    output::be_silent(false);
    output::note(&format!("error: rank {rank}: {error}"));
    let unusable = matches!(error, Error::NoAdapter { .. });
    Mpi::abort(if unusable { EXIT_UNUSABLE } else { 1 })
}
