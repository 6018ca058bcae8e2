//! `softalign bench` of several ranks: what they reach, on paper and on this machine.

use std::process::ExitCode;
#[cfg(feature = "mpi")]
use std::process::{Command, Stdio};

#[cfg(feature = "mpi")]
use softalign::{Error, bench::RankFigures};
use softalign::{
    Gpu, Result,
    bench::{Link, RankPlan, RankStep},
};

use super::digits;
#[cfg(feature = "mpi")]
use crate::cli::Global;
use crate::cli::{output, table};

/// Prints what 1, 2, 4 and so on up to `most` ranks reach.
///
/// # Errors
/// The errors of kernels, and [`softalign::Error::OutOfMemory`] when memory runs out.
pub fn plan(gpu: &Gpu, most: usize, link: Link) -> Result<ExitCode> {
    let doubled = std::iter::successors(Some(1_usize), |ranks| ranks.checked_mul(2));
    let sizes: Vec<_> = doubled.take_while(|ranks| *ranks < most).chain([most]).collect();
    for (name, step) in RankStep::of_h100(gpu)? {
        let title = format!("{name} by ranks of an H100");
        let mut table =
            table::table([&title, "tokens/s", "efficiency", "ms a step", "communication", "not hidden", "MB sent"]);
        for ranks in &sizes {
            let RankPlan { bytes, seconds, communication, exposed, tokens_per_second, efficiency, .. } =
                step.among(*ranks, link);
            let milliseconds = |seconds: f64| table::number(digits(1e3 * seconds));
            table.add_row([
                table::number(ranks),
                table::number(digits(tokens_per_second)),
                table::number(format!("{:.0} %", 100.0 * efficiency)),
                milliseconds(seconds),
                milliseconds(communication),
                milliseconds(exposed),
                table::number(digits(1e-6 * bytes)),
            ]);
        }
        output::print(&table.to_string())?;
    }
    output::print(&format!(
        "On paper: {} Gb/s and {} us between ranks, and a batch for each rank as large as that of one.",
        link.gbps, link.latency_us
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures as one of several ranks, and prints the figures as a line of JSON.
///
/// # Errors
/// The errors of the device, and [`Error::Rank`] if a rank has ended.
#[cfg(feature = "mpi")]
pub fn measure(gpu: &Gpu, global: &Global) -> Result<ExitCode> {
    let figures = RankFigures::measure(gpu, global.ranks.clone())?;
    let line = serde_json::to_string(&figures).map_err(|error| Error::data("figures", error.to_string()))?;
    output::print(&line).map(|()| ExitCode::SUCCESS)
}

/// Starts so many ranks, one number after the other, and prints what they have measured.
///
/// # Errors
/// [`Error::Data`] if they cannot be started, or have failed.
#[cfg(feature = "mpi")]
pub fn run(sizes: &[u32], global: &Global) -> Result<ExitCode> {
    let head = ["ranks", "tokens/s", "of as many alone", "ms a step", "communication", "not hidden", "MB sent"];
    let mut table = table::table(head);
    let mut each: Option<f64> = None;
    for size in sizes {
        let RankFigures { ranks, seconds, tokens_per_second, bytes, communication, exposed, .. } =
            started(*size, global)?;
        let alone = *each.get_or_insert(tokens_per_second / ranks as f64);
        let milliseconds = |seconds: f64| table::number(digits(1e3 * seconds));
        table.add_row([
            table::number(ranks),
            table::number(digits(tokens_per_second)),
            table::number(format!("{:.0} %", 100.0 * tokens_per_second / (alone * ranks as f64))),
            milliseconds(seconds),
            milliseconds(communication),
            milliseconds(exposed),
            table::number(digits(1e-6 * bytes)),
        ]);
    }
    output::print(&table.to_string())?;
    output::print(
        "Ranks that share an adapter, or the cores that it runs on, do the work of one: then 1/N of as many alone is all that can be expected.",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The figures of so many ranks of this command.
#[cfg(feature = "mpi")]
fn started(ranks: u32, global: &Global) -> Result<RankFigures> {
    let failed = |message: String| Error::data(format!("mpirun -n {ranks}"), message);
    let program = std::env::current_exe().map_err(Error::io("this command's own file"))?;
    let mut command = Command::new("mpirun");
    // More ranks than cores are what is measured here.
    command
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    command.args(["-n", &ranks.to_string()]).arg(program).args(["bench", "--as-rank", "--quiet"]);
    command.args(global.adapter.iter().map(|adapter| format!("--adapter={adapter}")));
    command.args(global.untuned.then_some("--untuned"));
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|error| failed(error.to_string()))?;
    let line = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(line.trim())
        .map_err(|_| failed(format!("it ended with {} and printed `{}`", output.status, line.trim())))
}
