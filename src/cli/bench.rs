//! `softalign bench`: how near each kernel comes to what the adapter can do.

pub mod ranks;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use comfy_table::Table;
use glob::Pattern;
use softalign::bench::{
    self, Ceilings, Clock, Comparison, Drift, KernelProfile, Link, ModelSize, Report, Row, TrainingMemory,
    TrainingProfile, Workload,
};
use softalign::gpu::{Apart, Counts, UNITS, adapter};
use softalign::{Error, Gpu, Result};

use super::{Global, open, output, progress::Bar, table};

/// The time for which one row is repeated. Slow adapters take longer, since every row is repeated a few times.
const BUDGET: Duration = Duration::from_millis(700);

/// Options of `softalign bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Measure workloads whose name contains this, or matches it as a pattern with `*` and `?`; may be given several times.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    only: Vec<Only>,
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show the speedup of each workload over a file that `--json` wrote.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Draw a roofline: each workload as a point under the ceilings of the adapter.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Show the memory of a training step, by class of tensor, and measure nothing.
    #[arg(long, conflicts_with_all = ["only", "json", "compare", "plot"])]
    memory: bool,
    /// With --memory: that of one of N ranks, each with such a batch, that share the optimiser's state by `train --shard`.
    #[arg(long, value_name = "N", requires = "memory", value_parser = clap::value_parser!(u32).range(2..))]
    shard: Option<u32>,
    /// Show a training step by kernel: dispatches, time, workgroups and rounds; and its counts, which hold on any adapter.
    #[arg(long, conflicts_with_all = ["only", "json", "compare", "plot", "memory"])]
    profile: bool,
    /// Show what up to N ranks of one NVIDIA H100 each reach in the training steps of W5 M and W8 M, by bytes and latency, and
    /// measure nothing: a model on paper. The network is that of --gbps and --latency-us.
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "json", "compare", "plot", "memory", "profile"],
        value_parser = clap::value_parser!(u32).range(1..))]
    plan_ranks: Option<u32>,
    /// Gigabits a second that each rank sends and, at the same time, receives.
    #[arg(long, value_name = "X", requires = "plan_ranks", default_value_t = 400.0, value_parser = positive)]
    gbps: f64,
    /// Microseconds that a message from rank to rank takes beside its bytes.
    #[arg(long, value_name = "X", requires = "plan_ranks", default_value_t = 3.0, value_parser = positive)]
    latency_us: f64,
    /// Measure training steps of W5 S by so many ranks of this machine each, started by `mpirun` [default: 1,2,4].
    #[cfg(feature = "mpi")]
    #[arg(long, value_name = "N,N", num_args = 0..=1, value_delimiter = ',', default_missing_value = "1,2,4",
        conflicts_with_all = ["only", "json", "compare", "plot", "memory", "profile", "plan_ranks"])]
    ranks: Option<Vec<u32>>,
    /// Measure training steps as one of several ranks.
    #[cfg(feature = "mpi")]
    #[arg(long, hide = true)]
    pub as_rank: bool,
    /// Make a first training step: the work of a process that is timed from its start.
    #[arg(long, hide = true)]
    first_step: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "not a positive number".into())
}

#[derive(Clone)]
struct Only {
    text: String,
    pattern: Pattern,
}

fn pattern(text: &str) -> Result<Only, glob::PatternError> {
    Ok(Only { text: text.to_owned(), pattern: Pattern::new(text)? })
}

impl Only {
    fn matches(&self, key: &str) -> bool {
        key.contains(&self.text) || self.pattern.matches(key)
    }
}

/// Measures; the exit code is 1 if an output is wrong.
///
/// # Errors
/// No adapter, a lost device, a pattern that names nothing, or a file that cannot be read or written.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    if args.first_step {
        return output::print(&bench::first_step(&open(global)?)?.to_string()).map(|()| ExitCode::SUCCESS);
    }
    #[cfg(feature = "mpi")]
    if args.as_rank {
        return ranks::measure(&open(global)?, global);
    }
    #[cfg(feature = "mpi")]
    if let Some(sizes) = &args.ranks {
        return ranks::run(sizes, global);
    }
    if let Some(most) = args.plan_ranks {
        let link = Link { gbps: args.gbps, latency_us: args.latency_us };
        return ranks::plan(&open(global)?, most as usize, link);
    }
    if args.memory {
        return memory(&open(global)?, args.shard.map(|ranks| ranks as usize));
    }
    if args.profile {
        return profile(&open(global)?);
    }
    let old = args.compare.as_deref().map(Report::read).transpose()?;
    let mut workloads = bench::workloads();
    workloads.extend(bench::first_steps(child(global)?));
    for only in &args.only {
        if !workloads.iter().any(|workload| only.matches(workload.key())) {
            let known: Vec<_> = workloads.iter().map(Workload::key).collect();
            let message = format!("no workload's name contains or matches it. There are:\n{}", known.join("\n"));
            return Err(Error::data(format!("--only {}", only.text), message));
        }
    }
    workloads.retain(|workload| args.only.is_empty() || args.only.iter().any(|only| only.matches(workload.key())));
    let gpu = open(global)?;
    workloads.retain(|workload| workload.runs_on(&gpu));
    if workloads.is_empty() {
        return Err(Error::data("--only", "these workloads are in f16, which this adapter does not have"));
    }
    let (report, lost) = measure(&gpu, &workloads, global)?;
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    if let Some(path) = args.plot.as_ref().filter(|_| lost.is_none()) {
        report.plot(path)?;
    }
    print(&report, old.as_ref())?;
    match lost {
        Some(lost) => Err(lost),
        None if report.rows.iter().any(|row| row.failure.is_some()) => Ok(ExitCode::FAILURE),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// This command again, for a first step on the same adapter.
fn child(global: &Global) -> Result<impl Fn() -> Command + use<>> {
    let program = std::env::current_exe().map_err(Error::io("this command's own file"))?;
    let mut arguments = vec!["bench".to_owned(), "--first-step".to_owned(), "--quiet".to_owned()];
    if let Some(adapter) = &global.adapter {
        arguments.push(format!("--adapter={adapter}"));
    }
    arguments.extend(global.checked.then(|| "--checked".to_owned()));
    arguments.extend(global.untuned.then(|| "--untuned".to_owned()));
    arguments.extend(global.tiles.map(|class| format!("--tiles={}", class.name())));
    Ok(move || {
        let mut command = Command::new(&program);
        command.args(&arguments);
        command
    })
}

fn memory(gpu: &Gpu, ranks: Option<usize>) -> Result<ExitCode> {
    for size in [ModelSize::S, ModelSize::M] {
        let memory = TrainingMemory::of(gpu, &size, ranks)?;
        let whose = ranks.map_or_else(String::new, |ranks| format!(", one of {ranks} ranks"));
        let mut table = table::table([&format!("training step of W5/{}{whose}", size.name), "memory"]);
        for (class, bytes) in &memory.classes {
            table.add_row([(*class).into(), table::number(megabytes(*bytes))]);
        }
        table.add_row(["all".into(), table::number(megabytes(memory.total()))]);
        table.add_row(["allocated".into(), table::number(megabytes(memory.allocated))]);
        table.add_row(["activations, if nothing were shared".into(), table::number(megabytes(memory.unshared))]);
        output::print(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn profile(gpu: &Gpu) -> Result<ExitCode> {
    for size in [ModelSize::S, ModelSize::M] {
        let profile = TrainingProfile::of(gpu, &size)?;
        let title = format!("training step of W5/{}", size.name);
        let heads = [title.as_str(), "dispatches", "ms", "share", "most workgroups", "waves", "serial rounds"];
        let mut table = table::table(heads);
        for kernel in &profile.kernels {
            let KernelProfile { dispatches, seconds, workgroups, waves, serial_rounds, .. } = kernel;
            table.add_row([
                (&kernel.kernel).into(),
                table::number(dispatches),
                table::number(format!("{:.3}", 1e3 * seconds)),
                table::number(format!("{:.1} %", 100.0 * seconds / profile.seconds())),
                table::number(workgroups),
                table::number(waves),
                table::number(serial_rounds),
            ]);
        }
        let Counts { dispatches, barriers, serial_rounds, bytes } = profile.counts;
        table.add_row([
            "all".into(),
            table::number(dispatches),
            table::number(format!("{:.3}", 1e3 * profile.seconds())),
            table::number("100.0 %"),
            table::number(""),
            table::number(""),
            table::number(serial_rounds),
        ]);
        output::print(&table.to_string())?;
        output::print(&format!(
            "{barriers} dispatches wait for an earlier one. At least {:.0} MB are read and written. Waves are of {UNITS} workgroups. {}",
            1e-6 * bytes,
            match profile.apart {
                Apart::No => "Times are between timestamps, which were found to be charged to the right dispatches.",
                Apart::Yes =>
                    "Each dispatch ran in a submit of its own: timestamps between dispatches cannot be believed here.",
            }
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The report of the workloads measured, and the error that stopped the rest.
fn measure(gpu: &Gpu, workloads: &[Workload], global: &Global) -> Result<(Report, Option<Error>)> {
    let mut bar = Bar::new(global, Some(workloads.len() as u64), "workloads");
    bar.update(0, "ceilings");
    let ceilings = Ceilings::measure(gpu)?;
    let mut drift = Drift::new(gpu, &ceilings)?;
    let mut report = Report { adapter: adapter::describe(gpu.info()), ceilings, drift: None, rows: Vec::new() };
    for (done, workload) in (0..).zip(workloads) {
        bar.update(done, workload.key());
        if let Err(lost) = drift.read() {
            return Ok((report, Some(lost)));
        }
        report.drift = drift.range();
        match workload.measure(gpu, &ceilings, BUDGET) {
            Ok(row) => {
                if let Some(failure) = &row.failure {
                    bar.println(&format!("{}: {failure}", row.workload));
                }
                report.rows.push(row);
            }
            Err(lost) => return Ok((report, Some(lost))),
        }
    }
    Ok((report, None))
}

fn print(report: &Report, old: Option<&Report>) -> Result<()> {
    let comparison = old.map(|old| Comparison::of(old, report));
    output::print(&ceilings(&report.ceilings).to_string())?;
    if let Some([least, median, most]) = report.drift.map(|drift| drift.map(digits)) {
        output::print(&format!(
            "Between the workloads multiply-add ran at {least} to {most} GFLOP/s, half the time above {median}. Where that is far from the \
             ceiling, the adapter's clock has moved, or the machine is busy."
        ))?;
    }
    output::print(&rows(&report.rows, comparison.as_ref()).to_string())?;
    for row in &report.rows {
        if let Some(label) = &row.label {
            output::print(&format!("{}: {label}", row.workload))?;
        }
    }
    if let Some(comparison) = &comparison {
        print_comparison(comparison)?;
    }
    let failed: Vec<_> = report.rows.iter().filter(|row| row.failure.is_some()).collect();
    if failed.is_empty() {
        return output::print(&format!("All {} outputs agree with the CPU reference.", report.rows.len()));
    }
    output::print(&format!("{} of {} workloads failed:", failed.len(), report.rows.len()))?;
    for row in failed {
        output::print(&format!("{}: {}", row.workload, row.failure.as_deref().unwrap_or_default()))?;
    }
    Ok(())
}

fn print_comparison(comparison: &Comparison) -> Result<()> {
    if let Some(other) = &comparison.other_adapter {
        output::print(&format!("Compared with another adapter or driver: {other}"))?;
    }
    output::print(&format!("Its multiply-add rate is {:.2} times what it was then.", comparison.ceiling))?;
    match comparison.mean() {
        None => output::print("There is no workload that both have a time for."),
        Some(mean) => {
            let count = comparison.speedups.len();
            output::print(&format!("{count} workloads, on average {mean:.2} times as fast as then."))
        }
    }
}

fn ceilings(ceilings: &Ceilings) -> Table {
    let Ceilings { fma_gflops, reciprocal_gops, exp_gops, tanh_gops, storage_gbps, copy_gbps, .. } = *ceilings;
    let mut table = table::table(["ceiling", "measured"]);
    for (name, value, unit) in [
        ("fused multiply-add", fma_gflops, "GFLOP/s"),
        ("reciprocal", reciprocal_gops, "G/s"),
        ("exponential", exp_gops, "G/s"),
        ("tanh", tanh_gops, "G/s"),
        ("storage read", storage_gbps, "GB/s"),
        ("storage copied, read + written", copy_gbps, "GB/s"),
        ("one more dispatch", ceilings.dispatch_us, "us"),
        ("submit and wait", ceilings.submit_us, "us"),
    ] {
        table.add_row([name.into(), table::number(format!("{} {unit}", digits(value)))]);
    }
    table
}

fn rows(rows: &[Row], comparison: Option<&Comparison>) -> Table {
    let mut header = vec![
        "workload",
        "ms",
        "spread",
        "GFLOP/s",
        "GB/s",
        "tokens/s",
        "of ceiling",
        "dispatches",
        "submits",
        "memory",
        "beside in/out",
        "clock",
    ];
    if comparison.is_some() {
        header.insert(2, "speed-up");
    }
    let mut table = table::table(header);
    for row in rows {
        let figure = |value: Option<f64>| table::number(value.map(digits).unwrap_or_default());
        let clock = match (row.clock, &row.failure) {
            (_, Some(_)) => table::verdict(false),
            (Some(Clock::Device), _) => "device".into(),
            (Some(Clock::Wall), _) => "wall".into(),
            (None, None) => "".into(),
        };
        let mut cells = vec![
            row.workload.as_str().into(),
            figure(row.ms),
            table::number(
                row.ms
                    .zip(row.spread_ms)
                    .map(|(ms, spread)| format!("{:.0} %", 100.0 * spread / ms))
                    .unwrap_or_default(),
            ),
            figure(row.gflops),
            figure(row.gbps),
            figure(row.tokens_per_s),
            table::number(row.ceiling_percent.map(|percent| format!("{percent:.0} %")).unwrap_or_default()),
            table::number(row.dispatches.to_string()),
            table::number(row.submits.to_string()),
            table::number(megabytes(row.bytes)),
            table::number(megabytes(row.scratch_bytes)),
            clock,
        ];
        if let Some(comparison) = comparison {
            cells.insert(2, table::speedup(comparison.speedups.get(&row.workload).copied()));
        }
        table.add_row(cells);
    }
    table
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", digits(bytes as f64 / 1e6))
}

/// Three digits, but all of those before the point.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 99.95 || magnitude == 0.0 => 0,
        magnitude if magnitude >= 9.995 => 1,
        magnitude if magnitude >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_mean_something() {
        assert_eq!(
            [1234.5, 99.96, 12.34, 1.234, 0.01234, 0.0].map(digits),
            ["1234", "100", "12.3", "1.23", "0.012", "0"]
        );
    }

    #[test]
    fn a_pattern_is_part_of_a_name_or_matches_all_of_it() {
        for (text, matches) in [("W1/", true), ("1024", true), ("W1/*/nt", true), ("W1/*/tn", false), ("w1", false)] {
            assert_eq!(pattern(text).unwrap().matches("W1/1024x1024x1024/nt"), matches, "{text}");
        }
    }
}
