//! A limit that nothing reports: llvmpipe, which runs shaders on the CPU, ends an invocation after 65,535 rounds of all its loops
//! together, silently and with wrong results. So launches count rounds. Loops that the driver unrolls do not count; where modules
//! keep wgpu's checks it unrolls none.

use crate::{
    Error, Result,
    gpu::{AdapterClass, Gpu},
};

/// The rounds that a launch may count for one invocation: with something to spare.
pub(super) const MOST_ROUNDS: usize = 60_000;

/// Checks that the adapter goes through `need` rounds in one invocation; `what` needs them.
pub(super) fn expect_rounds(gpu: &Gpu, need: usize, what: impl FnOnce() -> String, remedy: &str) -> Result<()> {
    if gpu.class() != AdapterClass::Cpu || need <= MOST_ROUNDS {
        return Ok(());
    }
    Err(Error::Limit {
        what: what(),
        need: need as u64,
        limit: "number of loop rounds (of a driver that runs shaders on the CPU)",
        have: MOST_ROUNDS as u64,
        remedy: remedy.into(),
    })
}
