//! `softalign validate`: every kernel against the CPU reference, as a table and as JSON.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use serde::Serialize;
use softalign::gpu::adapter;
use softalign::validate::{self, Cases, Check, Direction, OfClass, Row, ShapeClass};
use softalign::{Error, Gpu, Result, files};

use super::{Global, accuracy, golden, open, output, progress::Bar, table};

/// Options of `softalign validate`.
#[derive(clap::Args)]
pub struct Args {
    /// Random cases of each kernel and direction.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Time for each kernel and direction, in seconds: further cases are begun until it is over, up to 10,000 in all.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = seconds)]
    seconds: f64,
    /// Number of the first case; the same number draws the same case on every machine.
    // The last case's number is this plus how many there are, and must not overflow.
    #[arg(long, value_name = "S", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(..=u64::MAX - u64::from(u32::MAX)))]
    seed: u64,
    /// Run this kernel only; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(kernels()))]
    only: Vec<String>,
    /// Run the checks of this type of activations only.
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "f16"])]
    dtype: Option<String>,
    /// Write the table as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also keep a table in Markdown: the worst errors by class of shapes, with a column for each driver that it was ever made
    /// on.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "accuracy.md")]
    report: Option<PathBuf>,
    /// Instead compare the engine with the cases in a folder, all of them, which your own PyTorch wrote.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cases", "seconds", "seed", "only", "dtype", "json", "report"])]
    golden: Option<PathBuf>,
}

/// The most cases that time alone leads to: as many as tolerances were proved with.
const MOST: usize = 10_000;

/// A time of at most a day.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds from 0 to 86400 is wanted".to_owned())
}

/// The kernels of the table, each once, in its order.
fn kernels() -> Vec<&'static str> {
    let mut seen = HashSet::new();
    validate::checks().iter().map(|check| check.kernel).filter(|name| seen.insert(*name)).collect()
}

/// Runs the checks; the exit code is 1 if one of them fails.
///
/// # Errors
/// No adapter, a lost device, or a JSON file that cannot be written.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let gpu = open(global)?;
    if let Some(folder) = &args.golden {
        return Ok(if golden::run(&gpu, folder)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut checks = validate::checks();
    checks.retain(|check| args.only.is_empty() || args.only.iter().any(|name| name == check.kernel));
    checks.retain(|check| args.dtype.as_ref().is_none_or(|dtype| dtype == check.dtype.name()));
    if !checks.iter().any(|check| check.runs_on(&gpu)) {
        return Err(nothing_to_run(&gpu, &checks));
    }
    let left_out = checks.extract_if(.., |check| !check.runs_on(&gpu)).filter(|check| !check.cooperative).count();
    let Run { rows, problems, lost } = run_checks(&gpu, &checks, &args, global);

    if let Some(path) = &args.json {
        write_json(path, &gpu, &rows)?;
    }
    if let Some(path) = &args.report {
        accuracy::update(path, &gpu, &rows)?;
    }
    let printed = print(&gpu, args.seed, &rows, &problems, left_out, global);
    if let Some(lost) = lost {
        return Err(lost);
    }
    if rows.iter().any(|row| !row.passed) {
        return Ok(ExitCode::FAILURE);
    }
    printed.map(|()| ExitCode::SUCCESS)
}

/// The error if the adapter cannot run any check of those that were asked for.
fn nothing_to_run(gpu: &Gpu, checks: &[Check]) -> Error {
    let adapter = adapter::describe(gpu.info());
    if !checks.is_empty() && checks.iter().all(|check| check.cooperative) {
        return Error::data(
            "--only",
            format!(
                "{adapter} has no cooperative matrices, or is opened without them: --no-experimental and SOFTALIGN_PORTABLE leave them \
                 out, and so does a driver on the CPU but for --tiles discrete"
            ),
        );
    }
    let why = match checks.is_empty() {
        true => "no kernel that was asked for has activations of this type".to_owned(),
        false => format!("{adapter} has no shader-f16, or SOFTALIGN_PORTABLE leaves it out"),
    };
    Error::data("--dtype", why)
}

/// The results of the checks.
struct Run {
    rows: Vec<Row>,
    /// The errors of checks that could not be run to their end.
    problems: Vec<String>,
    /// The error after which the remaining checks were not run.
    lost: Option<Error>,
}

/// Runs check by check. One that a driver refuses counts as failed and hides none of the others; only with the device gone
/// there is nothing left to run on.
fn run_checks(gpu: &Gpu, checks: &[Check], args: &Args, global: &Global) -> Run {
    let mut run = Run { rows: Vec::new(), problems: Vec::new(), lost: None };
    let cases = Cases { least: args.cases as usize, time: Duration::from_secs_f64(args.seconds), most: MOST };
    let mut bar = Bar::new(global, Some(checks.len() as u64), "checks");
    for (done, check) in (0..).zip(checks) {
        let name = title(check.kernel, check.direction, check.dtype.name());
        bar.update(done, &name);
        let row = match validate::run(gpu, check, cases, args.seed) {
            Ok(row) => row,
            Err(lost @ Error::DeviceLost { .. }) => {
                run.lost = Some(lost);
                break;
            }
            Err(error) => {
                run.problems.push(format!("{name}: {error}"));
                unfinished(check, args.seed)
            }
        };
        if !row.passed {
            bar.println(&format!("{name}: FAIL"));
        }
        run.rows.push(row);
    }
    run
}

fn unfinished(check: &Check, seed: u64) -> Row {
    Row {
        kernel: check.kernel.to_owned(),
        direction: check.direction,
        dtype: check.dtype.name(),
        cases: 0,
        worst_error: f64::INFINITY,
        tolerance: check.tolerance,
        passed: false,
        classes: [OfClass::default(); ShapeClass::ALL.len()],
        worst_seed: seed,
    }
}

fn print(gpu: &Gpu, first: u64, rows: &[Row], problems: &[String], left_out: usize, global: &Global) -> Result<()> {
    let info = gpu.info();
    let (adapter, driver) = (&info.name, driver(gpu));
    output::print(&format!(
        "adapter  {adapter} ({:?})\ndriver   {driver}\ncases    from number {first} on",
        info.backend
    ))?;
    let mut table = table::table(["kernel", "direction", "dtype", "cases", "worst error", "tolerance", "result"]);
    for row in rows {
        table.add_row([
            row.kernel.as_str().into(),
            row.direction.name().into(),
            row.dtype.into(),
            row.cases.into(),
            table::error(row.worst_error),
            table::error(row.tolerance),
            table::verdict(row.passed),
        ]);
    }
    output::print(&table.to_string())?;
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed).collect();
    match failed.len() {
        0 => output::print(&format!("All {} checks pass.", rows.len()))?,
        count => output::print(&format!("{count} of {} checks fail.", rows.len()))?,
    }
    if left_out > 0 {
        output::print(&format!(
            "{left_out} checks of f16 were left out: there is no shader-f16 here, or SOFTALIGN_PORTABLE leaves it out."
        ))?;
    }
    for problem in problems {
        output::print(problem)?;
    }
    for row in failed.iter().filter(|row| row.cases > 0) {
        output::print(&format!(
            "worst case of {}: {}",
            title(&row.kernel, row.direction, row.dtype),
            repeat(row, global)
        ))?;
    }
    Ok(())
}

/// The command that runs a row's worst case alone.
fn repeat(row: &Row, global: &Global) -> String {
    let adapter = global.adapter.as_ref().and_then(|adapter| shlex::try_quote(adapter).ok());
    let adapter = adapter.map_or_else(String::new, |adapter| format!(" --adapter {adapter}"));
    let checked = if global.checked { " --checked" } else { "" };
    let untuned = if global.untuned { " --untuned" } else { "" };
    let tiles = global.tiles.map_or_else(String::new, |class| format!(" --tiles {}", class.name()));
    let plain = if global.no_experimental { " --no-experimental" } else { "" };
    let Row { kernel, dtype, worst_seed, .. } = row;
    let dtype = if *dtype == "f32" { String::new() } else { format!(" --dtype {dtype}") };
    format!(
        "softalign validate --only {kernel}{dtype} --cases 1 --seed {worst_seed}{adapter}{checked}{untuned}{plain}{tiles}"
    )
}

fn title(kernel: &str, direction: Direction, dtype: &str) -> String {
    let dtype = if dtype == "f32" { String::new() } else { format!(", {dtype}") };
    format!("{kernel} {}{dtype}", direction.name())
}

fn driver(gpu: &Gpu) -> String {
    format!("{} {}", gpu.info().driver, gpu.info().driver_info).trim().to_owned()
}

/// The JSON form. An error that is not finite becomes null.
#[derive(Serialize)]
struct Report<'a> {
    adapter: &'a str,
    driver: &'a str,
    rows: &'a [Row],
}

fn write_json(path: &Path, gpu: &Gpu, rows: &[Row]) -> Result<()> {
    let report = Report { adapter: &adapter::describe(gpu.info()), driver: &driver(gpu), rows };
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
    files::write_atomically(path, (text + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_is_valid_json_and_can_be_repeated() {
        let row = Row {
            kernel: "matmul".to_owned(),
            direction: Direction::Backward,
            dtype: "f32",
            cases: 3,
            worst_error: f64::INFINITY,
            tolerance: 1e-5,
            passed: false,
            classes: [OfClass::default(); ShapeClass::ALL.len()],
            worst_seed: 17,
        };
        let json = serde_json::to_value(Report { adapter: "a", driver: "d", rows: std::slice::from_ref(&row) });
        let expected = serde_json::json!({"adapter": "a", "driver": "d", "rows": [{"kernel": "matmul",
            "direction": "backward", "dtype": "f32", "cases": 3, "worst_error": null, "tolerance": 1e-5,
            "passed": false}]});
        assert_eq!(json.unwrap(), expected);

        let global = Global {
            adapter: Some("My GPU".to_owned()),
            checked: true,
            trace: false,
            check_finite: false,
            untuned: true,
            no_experimental: true,
            tiles: None,
            quiet: true,
            verbose: 0,
            ranks: None,
        };
        let command = "softalign validate --only matmul --cases 1 --seed 17 --adapter 'My GPU' --checked --untuned --no-experimental";
        assert_eq!(repeat(&row, &global), command);
    }
}
